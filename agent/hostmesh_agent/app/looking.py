"""Looks at the apps before a join touches anything, and says what it found (`logic.findings`).

What needs root is read as root: whose sockets these are, known software's files, Docker's rules.
The apps are called as the agent's user.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from hostmesh_agent.app.configuration import read_config_of
from hostmesh_agent.config import AgentConfig, CheckKind, ServiceConfig
from hostmesh_agent.edges import (
    app_files,
    app_probe,
    docker,
    foreseen,
    interfaces,
    listeners,
    own_processes,
    users,
)
from hostmesh_agent.edges.app_probe import Call, Spoken
from hostmesh_agent.edges.as_user import run_as
from hostmesh_agent.edges.listeners import Socket
from hostmesh_agent.edges.users import User
from hostmesh_agent.logic import accepting, address_rules, findings, redirect
from hostmesh_agent.logic.address_rules import AddressRule
from hostmesh_agent.logic.findings import Finding, Heard, Listener, Observed, Severity
from hostmesh_agent.logic.seen_source import SeenSource, seen_source
from hostmesh_core.host_layout import HostLayout
from hostmesh_core.model import Protocol


def look(config: AgentConfig, agent: User, layout: HostLayout) -> list[Finding]:
    """Give every finding about this host and its apps, what stops first."""
    sockets = listeners.listening()
    published = docker.published(sockets)
    heard = _heard(config.services, sockets, agent)
    firewall = _foreseen(config)
    ours = {each.pid for each in own_processes.of_instance(layout)}
    found = findings.of_host(
        config, [replace(_listener(each), ours=each.pid in ours) for each in sockets]
    )
    for service, spoken in zip(config.services, heard, strict=True):
        mine = _of_port(sockets, service.port)
        seen = Observed(
            listeners=tuple(_listener(each) for each in mine),
            heard=Heard(first=spoken.first, tls=spoken.tls, answer=spoken.answer),
            published=published.get(service.port, ""),
            firewall=firewall.get(service.endpoint_port, ""),
            rules=tuple(_rules(mine, agent, _source(config, service))),
        )
        found += findings.of_service(config, service, seen)
    return sorted(found, key=lambda each: each.severity is Severity.WARNS)


def look_now(config_path: str, layout: HostLayout, *, agent_user: str) -> list[Finding]:
    """Look at any time, joined or not. Raises BadInput."""
    config = read_config_of(layout, config_path)
    agent = users.ordinary() or users.find(agent_user, option="--agent-user")
    return look(config, agent, layout)


def _foreseen(config: AgentConfig) -> Mapping[int, str]:
    """Ask what this host's firewall would make of the capture; nobody but root can know."""
    if not config.capture.enabled or users.ordinary() is not None:
        return {}
    plan = redirect.plan(config, redirect.Users(proxy_uid=2, proxy_gid=2, agent_uid=1))
    return foreseen.firewall(plan.encode(), HostLayout(config.instance))


def look_at_changed(
    old: AgentConfig, new: AgentConfig, layout: HostLayout, accept: Sequence[str], agent: User
) -> list[Finding]:
    """Look at what an edited agent.yaml adds, or says otherwise of an app, before it is so.

    Raises BadInput where something was found that stops and is not accepted.
    """
    accepted = accepting.Accepted.parse(accept, new)
    changed = findings.to_look_at(old, new)
    if not changed:
        return []
    found = look(replace(new, services=changed), users.ordinary() or agent, layout)
    accepting.check(found, accepted, command="reload", unchanged="nothing was changed")
    return found


def stops(found: Sequence[Finding]) -> bool:
    """Tell whether a join would stop at these."""
    return bool(accepting.stopping(found, accepting.Accepted()))


def as_text(found: Sequence[Finding]) -> str:
    """Give the findings for a person."""
    if not found:
        return "nothing was found that callers would notice"
    return "\n".join(line for each in found for line in accepting.lines(each))


def as_values(found: Sequence[Finding]) -> list[dict[str, str]]:
    """Give the findings for a machine."""
    return [
        {
            "finding": str(each.code),
            "service": each.service,
            "severity": str(each.severity),
            "text": each.text,
            "cure": each.cure,
        }
        for each in found
    ]


def as_json(found: Sequence[Finding]) -> str:
    """Give the findings as JSON."""
    return json.dumps(as_values(found), indent=2)


def _source(config: AgentConfig, service: ServiceConfig) -> SeenSource:
    captured = findings.is_captured(config, service)
    return seen_source(service, captured=captured, own=interfaces.own_addresses())


def _of_port(sockets: Sequence[Socket], port: int) -> list[Socket]:
    return [each for each in sockets if each.port == port]


def _listener(each: Socket) -> Listener:
    return Listener(address=each.address, port=each.port, process=each.process)


def _heard(
    services: Sequence[ServiceConfig], sockets: Sequence[Socket], agent: User
) -> list[Spoken]:
    calls = [_call(service, _of_port(sockets, service.port)) for service in services]
    answer = run_as(
        agent, lambda: {"spoken": asyncio.run(_listen_to_all(calls))}, ends_with_us=True
    )
    return [
        Spoken(bytes.fromhex(each["first"]), each["tls"], bytes.fromhex(each["answer"]))
        for each in answer["spoken"]  # type: ignore[attr-defined]
    ]


def _call(service: ServiceConfig, mine: Sequence[Socket]) -> Call | None:
    where = findings.dialled(service, [_listener(each) for each in mine])
    if where is None:
        return None
    path = service.health.path if service.health.kind is CheckKind.HTTP else "/"
    request = b""
    if service.protocol is Protocol.HTTP:
        request = app_probe.http_request(path, service.name)
    elif service.protocol is not None and service.protocol.is_http:
        request = app_probe.http2_request()
    # A database may count what it cannot read against its caller: known ones get no hello.
    known = any(app_files.software(each) in ("postgres", "mariadb", "redis") for each in mine)
    return Call(*where, request=request, try_tls=not known)


async def _listen_to_all(calls: Sequence[Call | None]) -> list[dict[str, object]]:
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(_listen_to(call)) for call in calls]
    return [
        {"first": each.first.hex(), "tls": each.tls, "answer": each.answer.hex()}
        for each in (task.result() for task in running)
    ]


async def _listen_to(call: Call | None) -> Spoken:
    return Spoken() if call is None else await app_probe.listen_to(call)


def _rules(mine: Sequence[Socket], agent: User, source: SeenSource) -> list[AddressRule]:
    """Give the rules by address of whoever listens; each program once."""
    found: dict[str, list[AddressRule]] = {}
    for owner in mine:
        known = app_files.software(owner)
        if known and known not in found:
            found[known] = _READERS[known](owner, agent, source)
    return [rule for rules in found.values() for rule in rules]


def _postgres(owner: Socket, _: User, source: SeenSource) -> list[AddressRule]:
    folder = app_files.option(owner.command, "-D") or app_files.working_folder(owner.pid)
    config = app_files.option(owner.command, "config_file") or f"{folder}/postgresql.conf"
    stated = address_rules.postgres_hba_file(app_files.read(owner.pid, config) or "")
    file = app_files.option(owner.command, "hba_file") or stated or f"{folder}/pg_hba.conf"
    text = app_files.read(owner.pid, file)
    if text is None:
        return address_rules.unreadable("PostgreSQL", file)
    return address_rules.postgres(text, file, source)


def _nginx(owner: Socket, _: User, source: SeenSource) -> list[AddressRule]:
    title = " ".join(owner.command)  # a process names itself in one word
    if "worker process" in title:
        title = " ".join(listeners.parent_command(owner.pid))
    words = tuple(title.split())
    first = app_files.option(words, "-c") or "/etc/nginx/nginx.conf"
    base = str(PurePosixPath(first).parent)
    waiting, seen = [first], set[str]()
    found: list[AddressRule] = []
    while waiting and len(seen) < app_files.MOST_FILES:
        file = waiting.pop(0)
        if file in seen:
            continue
        seen.add(file)
        text = app_files.read(owner.pid, file)
        if text is None:
            found += address_rules.unreadable("nginx", file)
            continue
        found += address_rules.nginx(text, file, source)
        for pattern in address_rules.nginx_includes(text):
            waiting += app_files.matching(owner.pid, str(PurePosixPath(base) / pattern))
    return found


def _postfix(owner: Socket, _: User, source: SeenSource) -> list[AddressRule]:
    file = "/etc/postfix/main.cf"
    text = app_files.read(owner.pid, file)
    if text is None:
        return address_rules.unreadable("Postfix", file)
    return address_rules.postfix(text, file, source)


def _redis(owner: Socket, agent: User, source: SeenSource) -> list[AddressRule]:
    where = findings.dialled_address(owner.address)
    said = run_as(
        agent,
        lambda: {"answer": app_files.ask_redis(where, owner.port).hex()},
        ends_with_us=True,
    )
    told = address_rules.redis_answer(bytes.fromhex(str(said["answer"])), source)
    if told is not None:
        return told
    for file in ("/etc/redis/redis.conf", "/etc/redis.conf"):
        text = app_files.read(owner.pid, file)
        if text is not None:
            return address_rules.redis(text, file, source)
    return address_rules.unreadable("Redis", "redis.conf")


def _mariadb(_: Socket, __: User, ___: SeenSource) -> list[AddressRule]:
    return address_rules.mariadb()


_READERS = {
    "postgres": _postgres,
    "nginx": _nginx,
    "postfix": _postfix,
    "redis": _redis,
    "mariadb": _mariadb,
}
