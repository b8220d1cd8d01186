"""A load client for hundreds of requests a second: a steady open-loop rate, no retries.

As `hostmesh_ctl.demo.load`, but one request in four goes over a fresh connection, not every other:
one in ten is a POST, every answer's body is checked, each request is one JSON line in the output.
Kept connections are used in turn, so that none stays idle for so long that a server which is about
to go closes it in the moment in which the next request is sent.

It calls a name that the host knows, or with `--dns` what a DNS server says a name is: asked for
each fresh connection, whose first address is taken; a kept one is used again only while its address
is in the last answer and until it has brought an error. So a caller behaves that goes by DNS.
"""

import argparse
import asyncio
import json
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import fields
from typing import IO

from hostmesh_ctl.demo.http_client import Answer
from hostmesh_ctl.demo.load import ANSWER_SECONDS, POST_EVERY, Plan, Record, complaint
from hostmesh_testing.steady.connection import Connection
from hostmesh_testing.steady.dns import Resolver

FACTS = [each.name for each in fields(Record)]
FRESH_EVERY = 4
LOOK_SECONDS = 0.25
"""How often answers that are overdue are looked for."""


def plan(number: int) -> Plan:
    """Decide the kind of request `number`: one in `FRESH_EVERY` asks for a fresh connection."""
    method = "POST" if number % POST_EVERY == POST_EVERY - 1 else "GET"
    return Plan(number=number, method=method, family=4, kept=number % FRESH_EVERY != 0)


class Addresses:
    """What the called name is at this moment."""

    def __init__(self, name: str, resolver: Resolver | None) -> None:
        self._name = name
        self._resolver = resolver
        self.last: list[str] = []

    async def ask(self) -> str:
        """Give the address for a fresh connection. Raises OSError."""
        if self._resolver is None:
            # /etc/hosts alone is asked, so this does not block.
            found = socket.getaddrinfo(self._name, None, socket.AF_INET, socket.SOCK_STREAM)
            self.last = [str(found[0][4][0])]
        else:
            self.last = await self._resolver.ask(self._name)
        if not self.last:
            raise OSError(f"no address of {self._name}")
        return self.last[0]


class Load:
    """Makes the requests and writes their records."""

    def __init__(self, who: str, addresses: Addresses, port: int, out: IO[str]) -> None:
        self._who = who
        self._addresses = addresses
        self._port = port
        self._out = out
        self._idle: dict[str, deque[Connection]] = {}
        self._busy: set[Connection] = set()
        self._opened = 0
        self._under_way = 0
        self._stopping = False
        self._all_done = asyncio.Event()

    async def run(self, rate: float, first: int, stop: asyncio.Event) -> None:
        """Start `rate` requests a second until `stop`; wait for those under way."""
        began, number = time.monotonic(), 0
        async with asyncio.TaskGroup() as tasks:
            looking = tasks.create_task(self._look_for_overdue())
            while not stop.is_set():
                self._begin(plan(first + number), tasks)
                number += 1
                # From the beginning, not from the last one: a late tick must not lower the rate.
                await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
            self._stopping = True
            if self._under_way:
                await self._all_done.wait()
            looking.cancel()
        self._out.flush()

    async def _look_for_overdue(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self._out.flush()
            now = time.monotonic()
            for connection in [each for each in self._busy if each.deadline < now]:
                connection.expire()

    def _begin(self, wanted: Plan, tasks: asyncio.TaskGroup) -> None:
        record = Record(
            id=str(wanted.number),
            method=wanted.method,
            family=4,
            kept=wanted.kept,
            start=time.monotonic(),
        )
        self._under_way += 1
        idle = self._kept() if wanted.kept else None
        if idle is not None:
            self._exchange(idle, wanted, record)
        else:
            tasks.create_task(self._fresh(wanted, record))

    def _kept(self) -> Connection | None:
        address = self._addresses.last[0] if self._addresses.last else ""
        idle = self._idle.get(address, deque())
        while idle:
            connection = idle.popleft()
            if not connection.ended:
                return connection
        return None

    async def _fresh(self, wanted: Plan, record: Record) -> None:
        self._opened += 1
        number = self._opened
        try:
            record.address = await self._addresses.ask()
            connection = Connection(number, record.address)
            connection.connect(self._port)
        except OSError as error:
            self._write(record, f"{type(error).__name__}: {error}")
            return
        self._exchange(connection, wanted, record)

    def _exchange(self, connection: Connection, wanted: Plan, record: Record) -> None:
        record.connection, record.address = connection.number, connection.address

        def done(answer: Answer | None, error: str) -> None:
            self._busy.discard(connection)
            self._take(connection, wanted, record, answer, error)

        self._busy.add(connection)
        connection.exchange(self._packet(wanted), done, within=ANSWER_SECONDS)

    def _take(
        self,
        connection: Connection,
        wanted: Plan,
        record: Record,
        answer: Answer | None,
        error: str,
    ) -> None:
        if answer is not None:
            record.status = answer.status
            record.server = answer.headers.get("x-answered-by", "")
            error = complaint(wanted, answer)
            if not error:
                record.client_certificate = json.loads(answer.body)["client_certificate"]
        if wanted.kept and answer is not None and answer.keeps and not error:
            self._idle.setdefault(connection.address, deque()).append(connection)
        else:
            connection.close()
        self._write(record, error)

    def _write(self, record: Record, error: str) -> None:
        record.error = error
        record.end = time.monotonic()
        self._under_way -= 1
        if self._stopping and not self._under_way:
            self._all_done.set()
        facts = {name: getattr(record, name) for name in FACTS}
        self._out.write(json.dumps(facts) + "\n")

    def _packet(self, wanted: Plan) -> bytes:
        body = wanted.body
        head = (
            f"{wanted.method} /load/{wanted.number} HTTP/1.1\r\nhost: web:{self._port}\r\n"
            f"x-request-number: {wanted.number}\r\nx-client: {self._who}\r\n"
            f"content-length: {len(body)}\r\n"
        )
        if not wanted.kept:
            head += "connection: close\r\n"
        return head.encode() + b"\r\n" + body


async def _main(wanted: argparse.Namespace) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    resolver = None
    if wanted.dns:
        address, _, port = wanted.dns.partition(":")
        resolver = await Resolver.open(address, int(port))
    with open(wanted.out, "w") as out:  # noqa: ASYNC230, PTH123 - before the first request
        sys.stdout.write("loading\n")
        sys.stdout.flush()
        addresses = Addresses(wanted.host, resolver)
        load = Load(wanted.who, addresses, wanted.port, out)
        await load.run(wanted.rate, wanted.first, stop)


def main(argv: Sequence[str] | None = None) -> None:
    """Load until told to stop."""
    parser = argparse.ArgumentParser(prog="hostmesh_testing.steady.load")
    parser.add_argument("--who", required=True, help="what this client calls itself")
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--first", type=int, default=0, help="the number of the first request")
    parser.add_argument("--dns", default="", metavar="ADDRESS:PORT")
    asyncio.run(_main(parser.parse_args(argv)))


if __name__ == "__main__":
    main()
