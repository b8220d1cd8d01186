"""Finds, in the configuration of known software, rules that judge a caller by its address. Pure.

Only what would decide otherwise for 127.0.0.6 is a rule here: "everybody" and "the loopback
address itself" are none.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_EVERYBODY = frozenset({"all", "0.0.0.0/0", "::/0", "::0/0"})
_LOOPBACK_ITSELF = frozenset(
    {"127.0.0.1/32", "127.0.0.1", "::1/128", "::1", "localhost", "samehost"}
)
_NGINX_DIRECTIVE = re.compile(r"(?:^|[;{}\s])(allow|deny)\s+([^;{}\s]+)\s*;")
_NGINX_COUNTED = re.compile(
    r"\b(?:limit_req_zone|limit_conn_zone|geo|map)\s+[^;{]*\$(?:binary_)?remote_addr"
)
_REDIS_PROTECTED = re.compile(r"^\s*protected-mode\s+(\w+)", re.IGNORECASE | re.MULTILINE)
_REDIS_PASSWORD = re.compile(r"^\s*requirepass\s+\S", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class AddressRule:
    """One rule, and where it stands."""

    software: str
    where: str
    """`file:line`, or what could not be read."""
    text: str = ""

    def __str__(self) -> str:
        """Give it as a person reads it."""
        return f"{self.where}: {self.text}" if self.text else self.where


def postgres(text: str, file: str) -> list[AddressRule]:
    """Read pg_hba.conf."""
    found = []
    for number, line in _lines(text):
        kind, *fields = line.split()
        if not kind.startswith("host") or len(fields) < 4:
            continue
        address = fields[2]
        if address not in _EVERYBODY | _LOOPBACK_ITSELF:
            found.append(AddressRule("PostgreSQL", f"{file}:{number}", " ".join(line.split())))
    return found


def postgres_hba_file(text: str) -> str:
    """Give what postgresql.conf says of where pg_hba.conf is; empty = nothing."""
    for _, line in _lines(text):
        match = re.match(r"hba_file\s*=?\s*'([^']+)'", line)
        if match:
            return match[1]
    return ""


def nginx(text: str, file: str) -> list[AddressRule]:
    """Read one of nginx' files: `allow`, `deny`, and what counts per address."""
    found = []
    for number, line in _lines(text):
        named = [m for m in _NGINX_DIRECTIVE.finditer(line) if m[2] not in ("all", "unix:")]
        if named or _NGINX_COUNTED.search(line):
            found.append(AddressRule("nginx", f"{file}:{number}", line))
    return found


def nginx_includes(text: str) -> list[str]:
    """Give the patterns that a file of nginx' includes."""
    found = []
    for _, line in _lines(text):
        found += re.findall(r"(?:^|[;{}\s])include\s+([^;\s]+)\s*;", line)
    return [pattern.strip("'\"") for pattern in found]


def postfix(text: str, file: str) -> list[AddressRule]:
    """Read main.cf. Postfix lets its networks relay, whatever it says of them."""
    for number, line in _lines(text):
        if re.match(r"mynetworks\s*=", line):
            return [AddressRule("Postfix", f"{file}:{number}", " ".join(line.split()))]
    return [AddressRule("Postfix", file, "mynetworks is not set: its default is by address")]


def redis(text: str, file: str) -> list[AddressRule]:
    """Read redis.conf: protected mode tells this host's callers from others by their address."""
    if _REDIS_PASSWORD.search(text):
        return []
    stated = _REDIS_PROTECTED.search(text)
    if stated and stated[1].lower() == "no":
        return []
    said = "protected-mode yes" if stated else "protected-mode is on by default"
    return [AddressRule("Redis", file, said)]


def redis_answer(answer: bytes) -> list[AddressRule] | None:
    """Read the answer to `CONFIG GET protected-mode`; None = it does not tell."""
    if answer.startswith((b"-NOAUTH", b"-WRONGPASS")):
        return []  # a password decides
    words = answer.split(b"\r\n")
    if b"protected-mode" not in words:
        return None
    return [] if b"no" in words else [AddressRule("Redis", "its own word", "protected-mode yes")]


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
