"""The load client: a steady open-loop rate, no retries, every answer's body checked.

Half of the requests go over kept connections, half over fresh ones; families alternate; one in ten
is a POST. Each request is one JSON line in the output: what became of it, when, on which
connection. It stops by itself after `--seconds`; on TERM it waits for what is under way.
Run as `python -m hostmesh_ctl.demo.load --host reviews --port 9080 --out FILE`.
"""

import argparse
import asyncio
import hashlib
import json
import signal
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import IO

from hostmesh_ctl.demo.http_client import Answer, BrokenAnswer, Connection, head_of

ANSWER_SECONDS = 8.0
"""After this long a request counts as failed; far over what any new one may wait."""
POST_EVERY = 10
FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Whom to load."""

    host: str
    port: int
    families: tuple[int, ...] = (4, 6)


@dataclass(slots=True, kw_only=True)
class Record:
    """What became of one request. Times are the kernel's monotonic seconds."""

    id: str
    method: str
    family: int
    kept: bool
    """Meant for a kept connection; its first use opens one."""
    start: float
    end: float = 0.0
    status: int = 0
    error: str = ""
    server: str = ""
    client_certificate: str = ""
    connection: int = 0
    address: str = ""
    """Of the instance that was called; empty where the name's virtual address was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One request before it is made."""

    number: int
    method: str
    family: int
    kept: bool

    @property
    def body(self) -> bytes:
        """Give the body to send."""
        return f"order {self.number}".encode() if self.method == "POST" else b""


def plan(number: int, families: Sequence[int]) -> Plan:
    """Decide the kind of request `number`: every mix of connection and family comes in turn."""
    method = "POST" if number % POST_EVERY == POST_EVERY - 1 else "GET"
    # The family changes half as often as the kind of connection, so that all four mixes occur.
    family = families[(number // 2) % len(families)]
    return Plan(number=number, method=method, family=family, kept=number % 2 == 0)


def complaint(sent: Plan, answer: Answer) -> str:
    """Say what is wrong with an answer; empty = nothing."""
    if answer.status != 200:
        return f"status {answer.status}: {answer.body[:120].decode(errors='replace').strip()}"
    try:
        said = json.loads(answer.body)
        expected = (str(sent.number), sent.method, hashlib.sha256(sent.body).hexdigest())
        got = (said["number"], said["method"], said["body_sha256"])
    except (ValueError, KeyError, TypeError):
        return "the body is not the app's"
    return "" if got == expected else f"the body answers another request: {got}"


class Load:
    """Makes the requests and writes their records."""

    def __init__(self, target: Target, out: IO[str]) -> None:
        self._target = target
        self._out = out
        self._idle: dict[int, list[Connection]] = {family: [] for family in FAMILIES}
        self._opened = 0

    async def run(self, rate: float, seconds: float, stop: asyncio.Event) -> None:
        """Start `rate` requests a second until `stop` or the end; wait for those under way."""
        began = time.monotonic()
        number = 0
        async with asyncio.TaskGroup() as requests:
            while not stop.is_set() and number < rate * seconds:
                requests.create_task(self.one(plan(number, self._target.families)))
                number += 1
                # From the beginning, not from the last one: a late tick must not lower the rate.
                await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
        for connections in self._idle.values():
            for connection in connections:
                connection.close()

    async def one(self, wanted: Plan) -> None:
        """Make one request and write its record, whatever becomes of it."""
        record = Record(
            id=str(wanted.number),
            method=wanted.method,
            family=wanted.family,
            kept=wanted.kept,
            start=time.monotonic(),
        )
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._exchange(wanted, record)
        except TimeoutError:
            record.error = record.error or f"no answer in {ANSWER_SECONDS:g} s"
        except (OSError, BrokenAnswer) as error:
            record.error = f"{type(error).__name__}: {error}"
        record.end = time.monotonic()
        self._out.write(json.dumps(asdict(record)) + "\n")
        self._out.flush()

    async def _exchange(self, wanted: Plan, record: Record) -> None:
        connection = await self._connection(wanted)
        record.connection = connection.number
        finished = False
        try:
            answer = await connection.exchange(self._head(wanted), wanted.body)
            finished = wanted.kept and answer.keeps
        finally:
            if finished:
                self._idle[wanted.family].append(connection)
            else:
                connection.close()
        record.status = answer.status
        record.server = answer.headers.get("x-answered-by", "")
        record.error = complaint(wanted, answer)
        if not record.error:
            record.client_certificate = json.loads(answer.body)["client_certificate"]

    async def _connection(self, wanted: Plan) -> Connection:
        idle = self._idle[wanted.family]
        while wanted.kept and idle:
            connection = idle.pop()
            if not connection.ended:
                return connection
            connection.close()
        self._opened += 1
        number = self._opened
        # /etc/hosts alone is asked, so this does not block.
        found = socket.getaddrinfo(
            self._target.host,
            self._target.port,
            FAMILIES[wanted.family],
            socket.SOCK_STREAM,
        )
        return await Connection.open(number, str(found[0][4][0]), self._target.port)

    def _head(self, wanted: Plan) -> str:
        headers = {"x-request-number": str(wanted.number), "user-agent": "hostmesh-load"}
        if wanted.body:
            headers["content-length"] = str(len(wanted.body))
        if not wanted.kept:
            headers["connection"] = "close"
        host = f"{self._target.host}:{self._target.port}"
        return head_of(wanted.method, f"/load/{wanted.number}", host, headers)


async def _main(wanted: argparse.Namespace) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    families = tuple(int(family) for family in wanted.families.split(","))
    target = Target(host=wanted.host, port=wanted.port, families=families)
    with open(wanted.out, "w") as out:  # noqa: PTH123, ASYNC230 - before the first request
        sys.stdout.write("loading\n")
        sys.stdout.flush()
        await Load(target, out).run(wanted.rate, wanted.seconds, stop)


def main(argv: Sequence[str] | None = None) -> None:
    """Load until told to stop."""
    parser = argparse.ArgumentParser(prog="hostmesh_ctl.demo.load")
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--rate", type=float, default=60.0)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--families", default="4,6")
    asyncio.run(_main(parser.parse_args(argv)))


if __name__ == "__main__":
    main()
