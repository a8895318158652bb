"""An OpenAI-compatible server that misbehaves as planned and keeps account of what it served.

A process of its own, on plain asyncio protocols: faults are a matter of single bytes. `POST /plan`
says what to do, `GET /counts` tells every request and what became of it. The account is written to
a journal before an answer leaves, so that a killed server knows it again when it is restarted.
"""

from __future__ import annotations

import argparse
import asyncio  # noqa: TID251 - control of every byte sent; the server is no part of what is tested
import json
import os
import socket
import ssl
import struct
import sys
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from .misdeeds import PERFORM, head
from .plan import Plan, cost_usd

__all__ = ["STATES", "main"]

STATES = ("working", "served", "refused", "garbled", "broken", "cancelled", "killed")
"""What becomes of a request: not ended yet; a whole completion was sent; a whole error was sent; a
whole answer that is no completion was sent; the upstream cut it; the client went away first; the
server was killed meanwhile."""

_PIECE = 256 * 1024
"""Bytes of a long body that are written at once."""

_BYTE_S = 1.0
"""Seconds between the bytes of a slow answer."""


@dataclass(slots=True)
class Served:
    """One request and what became of it."""

    ask: int
    model: str
    number: int
    fault: str | None
    state: str = "working"

    def row(self) -> list[object]:
        """Return it as `GET /counts` tells it; what was not served whole is not billed."""
        bill = cost_usd(self.model, self.ask) if self.state == "served" else 0.0
        return [self.ask, self.model, self.number, self.fault, self.state, bill]


class Account:
    """Every request since the last plan, kept in a journal."""

    def __init__(self, journal: Path) -> None:
        self.plan = Plan()
        self.requests: dict[tuple[int, str, int], Served] = {}
        self.connections = 0
        self._numbers: Counter[tuple[int, str]] = Counter()
        self._journal = os.open(journal, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        self._recall(journal.read_bytes())

    def begin_plan(self, body: bytes) -> None:
        """Forget everything and do as this plan says."""
        self.plan = Plan.from_json(body)
        self.requests.clear()
        self._numbers.clear()
        os.ftruncate(self._journal, 0)
        self._write(json.dumps({"plan": json.loads(body)}))

    def begin(self, ask: int, model: str) -> Served:
        """Take note of a request that has arrived."""
        number = self._numbers[ask, model]
        self._numbers[ask, model] += 1
        made = Served(ask, model, number, self.plan.fault(model, ask, number))
        self.requests[ask, model, number] = made
        self.end(made, "working")
        return made

    def end(self, made: Served, state: str) -> None:
        """Take note of what became of it."""
        made.state = state
        self._write(json.dumps([made.ask, made.model, made.number, made.fault, state]))

    def counts(self) -> bytes:
        """Return everything as JSON."""
        rows = [made.row() for made in self.requests.values()]
        return json.dumps({"connections": self.connections, "requests": rows}).encode()

    def _write(self, line: str) -> None:
        os.write(self._journal, line.encode() + b"\n")

    def _recall(self, journal: bytes) -> None:
        for line in journal.splitlines():
            found = json.loads(line)
            if isinstance(found, dict):
                self.plan = Plan.from_json(json.dumps(found["plan"]).encode())
            else:
                ask, model, number, fault, state = found
                state = "killed" if state == "working" else state
                self.requests[ask, model, number] = Served(ask, model, number, fault, state)
                self._numbers[ask, model] = number + 1


class Connection(asyncio.Protocol):
    """One connection of a client; requests come one after the other."""

    transport: asyncio.Transport

    def __init__(self, account: Account) -> None:
        self.account = account
        self.made: Served | None = None
        self._loop = asyncio.get_running_loop()
        self._received = b""
        self._timer: asyncio.TimerHandle | None = None
        self._paused = False
        self._left = memoryview(b"")
        self._end = b""

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.account.connections += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self.account.connections -= 1
        if self._timer is not None:
            self._timer.cancel()
        if self.made is not None and self.made.state == "working":
            self.account.end(self.made, "cancelled")

    def data_received(self, data: bytes) -> None:
        self._received += data
        first, found, rest = self._received.partition(b"\r\n\r\n")
        if not found:
            return
        line, *headers = first.decode("latin-1").split("\r\n")
        fields = dict(header.lower().split(": ", 1) for header in headers if ": " in header)
        size = int(fields.get("content-length", "0"))
        if len(rest) < size:
            return
        self._received = rest[size:]
        self._request(line.split(" ")[1], rest[:size])

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._pour()

    # What a request leads to.

    def _request(self, path: str, body: bytes) -> None:
        if path == "/plan":
            self.account.begin_plan(body)
            self.transport.write(head(200, 2) + b"{}")
        elif path == "/counts":
            counts = self.account.counts()
            self.transport.write(head(200, len(counts)) + counts)
        else:
            asked = json.loads(body)
            ask = int(asked["messages"][-1]["content"].split(" ", 1)[0])
            self.made = made = self.account.begin(ask, asked["model"])
            delay = self.account.plan.delay(made.model, ask, made.number)
            perform = PERFORM[made.fault]
            self._timer = self._loop.call_later(delay, perform, self, made)

    # What the faults are made of.

    def send(self, made: Served, state: str, data: bytes) -> None:
        """Send a whole answer."""
        self.account.end(made, state)
        self.transport.write(data)

    def cut(self, made: Served, data: bytes) -> None:
        """Send the beginning of an answer and close."""
        self.account.end(made, "broken")
        self.transport.write(data)
        self.transport.close()

    def reset(self, made: Served) -> None:
        """Close without a word, by a TCP reset."""
        self.account.end(made, "broken")
        opened = self.transport.get_extra_info("socket")
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def crawl(self, data: bytes) -> None:
        """Send one byte, and the others one a second."""
        self.transport.write(data[:1])
        if len(data) > 1:
            self._timer = self._loop.call_later(_BYTE_S, self.crawl, data[1:])

    def pour(self, begin: bytes, filler: bytes, end: bytes) -> None:
        """Send a long answer, no faster than the client takes it."""
        self.transport.write(begin)
        self._left, self._end = memoryview(filler), end
        self._pour()

    def _pour(self) -> None:
        while self._left and not self._paused and not self.transport.is_closing():
            piece, self._left = self._left[:_PIECE], self._left[_PIECE:]
            self.transport.write(piece)
            if not self._left and self.made is not None:
                self.send(self.made, "served", self._end)


async def _serve(port: int, journal: Path, certificate: Path | None) -> None:
    loop = asyncio.get_running_loop()
    account = Account(journal)

    def connect() -> Connection:
        return Connection(account)

    server = await loop.create_server(connect, "127.0.0.1", port, backlog=1024)
    ports = [server.sockets[0].getsockname()[1]]
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        # A handshake that the client breaks off is what is tested, not a fault to be told about.
        loop.set_exception_handler(lambda _, __: None)
        secure = await loop.create_server(connect, "127.0.0.1", 0, ssl=context, backlog=1024)
        ports.append(secure.sockets[0].getsockname()[1])
    sys.stdout.write(json.dumps(ports) + "\n")
    sys.stdout.flush()
    gone = asyncio.Event()

    def wait_for_the_end() -> None:
        sys.stdin.read()
        loop.call_soon_threadsafe(gone.set)

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    await gone.wait()


def main() -> None:
    """Serve until standard input closes, so that no server outlives its run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--journal", type=Path, required=True)
    parser.add_argument("--certificate", type=Path)
    given = parser.parse_args()
    asyncio.run(_serve(given.port, given.journal, given.certificate))


if __name__ == "__main__":
    main()
