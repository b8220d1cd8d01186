"""Finds, in the configuration of known software, rules that judge a caller by its address. Pure.

Only what would decide otherwise for the address that the app will see (`logic.seen_source`) is a
rule here: "everybody" is none, nor is what lets callers of this host itself in, unless the app
will take Envoy for one of them.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from hostmesh_agent.logic import seen_source
from hostmesh_agent.logic.seen_source import SeenSource

_PG_EVERYBODY = "all"
_PG_THIS_HOST = "samehost"
_PG_LOOPBACK_NAMES = frozenset({"localhost", "localhost.localdomain", "ip6-localhost"})
_PG_INCLUDES = frozenset({"include", "include_if_exists", "include_dir"})
_NGINX_TOKEN = re.compile(
    r"""#[^\n]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|[{};]"""
    r"""|(?:\$\{\w+\}|[^\s{};"'])(?:\$\{\w+\}|[^\s{};])*"""
)
"""A string ends with its line: an apostrophe in a block of Lua must not hide what comes after."""
_NGINX_BY_VARIABLE = frozenset({"limit_req_zone", "limit_conn_zone", "map", "if"})
_NGINX_ADDRESS = re.compile(r"\$\{?(?:binary_)?remote_addr\b")
_REDIS_PROTECTED = re.compile(r"^\s*protected-mode\s+(\w+)", re.IGNORECASE | re.MULTILINE)
_REDIS_PASSWORD = re.compile(r"^\s*requirepass\s+\S", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class AddressRule:
    """One rule, and where it stands."""

    software: str
    where: str
    """`file:line`, or what could not be read."""
    text: str = ""
    local: bool = False
    """It lets callers of this host itself in, and the app would take Envoy for one of them."""

    def __str__(self) -> str:
        """Give it as a person reads it."""
        return f"{self.where}: {self.text}" if self.text else self.where


def postgres(text: str, file: str, source: SeenSource) -> list[AddressRule]:
    """Read pg_hba.conf."""
    found = []
    for number, line in _lines(text):
        kind, *fields = line.split()
        where, shown = f"{file}:{number}", " ".join(line.split())
        if kind in _PG_INCLUDES:
            found.append(AddressRule("PostgreSQL", where, f"{shown} (which is not read here)"))
        if not kind.startswith("host") or len(fields) < 4:
            continue
        address = _pg_network(fields[2], fields[3])
        local = _pg_lets_this_host_in(address, source)
        if local or not _pg_decides_alike(address):
            found.append(AddressRule("PostgreSQL", where, shown, local=local))
    return found


def _pg_network(address: str, after: str) -> str:
    """Join an address with its mask where that is a word of its own."""
    plain = "/" not in address and seen_source.parsed_network(address) is not None
    joined = f"{address}/{after}"
    return joined if plain and seen_source.parsed_network(joined) is not None else address


def _pg_lets_this_host_in(address: str, source: SeenSource) -> bool:
    if address in _PG_LOOPBACK_NAMES:
        return source.is_within("127.0.0.1") or source.is_within("::1")
    # ::6 is an address of lo, and so one of this host's, while the rules are in.
    return address == _PG_THIS_HOST or source.stands_for_this_host(address)


def _pg_decides_alike(address: str) -> bool:
    """Tell what holds for everybody, or for loopback's own callers alone."""
    if address == _PG_EVERYBODY or address in _PG_LOOPBACK_NAMES:
        return True
    if seen_source.is_everybody(address):
        return True
    network = seen_source.parsed_network(address)
    return network is not None and network.num_addresses == 1 and network.is_loopback


def postgres_hba_file(text: str) -> str:
    """Give what postgresql.conf says of where pg_hba.conf is; empty = nothing."""
    for _, line in _lines(text):
        match = re.match(r"hba_file\s*=?\s*'([^']+)'", line)
        if match:
            return match[1]
    return ""


def nginx(text: str, file: str, source: SeenSource) -> list[AddressRule]:
    """Read one of nginx' files: `allow`, `deny`, and what asks for the address or counts by it."""
    found = []
    for number, words in _statements(text):
        if _nginx_judges(words):
            local = words[0] == "allow" and source.stands_for_this_host(words[1])
            found.append(AddressRule("nginx", f"{file}:{number}", " ".join(words), local=local))
    return found


def _nginx_judges(words: tuple[str, ...]) -> bool:
    name, *values = words
    if name in ("allow", "deny"):
        return len(values) == 1 and values[0] not in ("all", "unix:")
    if name == "geo":  # without a variable of its own it asks for the address
        asked = values[0] if len(values) > 1 else "$remote_addr"
        return _NGINX_ADDRESS.match(asked) is not None
    return name in _NGINX_BY_VARIABLE and any(_NGINX_ADDRESS.search(each) for each in values)


def _statements(text: str) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Give each of nginx' directives, a block's own words too, with the line it begins on."""
    words: list[str] = []
    began = line = 1
    seen = 0
    for token in _NGINX_TOKEN.finditer(text):
        line, seen = line + text.count("\n", seen, token.start()), token.start()
        if token[0] in ("{", "}", ";"):
            if words:
                yield began, tuple(words)
            words = []
        elif not token[0].startswith("#"):
            began = began if words else line
            words.append(token[0].strip("'\""))


def nginx_includes(text: str) -> list[str]:
    """Give the patterns that a file of nginx' includes."""
    found = (words for _, words in _statements(text) if words[0] == "include")
    return [words[1] for words in found if len(words) == 2]


def postfix(text: str, file: str, source: SeenSource) -> list[AddressRule]:
    """Read main.cf. Postfix lets its networks relay, whatever it says of them."""
    for number, line in _lines(text):
        if stated := re.match(r"mynetworks\s*=(.*)", line):
            networks = re.split(r"[,\s]+", stated[1].replace("[", "").replace("]", ""))
            local = any(source.stands_for_this_host(each) for each in networks)
            text = " ".join(line.split())
            return [AddressRule("Postfix", f"{file}:{number}", text, local=local)]
    said = "mynetworks is not set: its default is by address"
    return [AddressRule("Postfix", file, said, local=True)]  # this host's own are in it


def redis(text: str, file: str, source: SeenSource) -> list[AddressRule]:
    """Read redis.conf: protected mode tells this host's callers from others by their address."""
    if _REDIS_PASSWORD.search(text):
        return []
    stated = _REDIS_PROTECTED.search(text)
    if stated and stated[1].lower() == "no":
        return []
    said = "protected-mode yes" if stated else "protected-mode is on by default"
    return [AddressRule("Redis", file, said, local=source.is_loopback)]


def redis_answer(answer: bytes, source: SeenSource) -> list[AddressRule] | None:
    """Read the answer to `CONFIG GET protected-mode`; None = it does not tell."""
    if answer.startswith((b"-NOAUTH", b"-WRONGPASS")):
        return []  # a password decides
    words = answer.split(b"\r\n")
    if b"protected-mode" not in words:
        return None
    if b"no" in words:
        return []
    said = "protected-mode yes"
    return [AddressRule("Redis", "its own word", said, local=source.is_loopback)]


def mariadb() -> list[AddressRule]:
    """Give what cannot be known from outside: grants lie inside the database."""
    return [
        AddressRule("MariaDB/MySQL", "grants per host such as 'app'@'10.%' cannot be read here")
    ]


def unreadable(software: str, file: str) -> list[AddressRule]:
    """Give what has to be assumed where a file could not be read."""
    return [AddressRule(software, f"{file or 'its configuration'} cannot be read")]


def _lines(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.splitlines(), start=1):
        bare = line.split("#", 1)[0].strip()
        if bare:
            yield number, bare
