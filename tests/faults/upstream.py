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
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

from .plan import FILLER, Plan, answer_text, cost_usd, is_sure, usage

__all__ = ["STATES", "main"]

STATES = ("working", "served", "refused", "garbled", "broken", "cancelled", "killed")
"""What becomes of a request: not ended yet; a whole completion was sent; a whole error was sent; a
whole answer that is no completion was sent; the upstream cut it; the client went away first; the
server was killed meanwhile."""

_PIECE = 256 * 1024
"""Bytes of a long body that are written at once."""

_FILLER = memoryview(FILLER.encode())

_BYTE_S = 1.0
"""Seconds between the bytes of a slow answer."""

_SKEW = timedelta(hours=1)
"""How far the clock of a skewed answer is behind."""

_HTML = b"<!DOCTYPE html><html><body><h1>502 Bad Gateway</h1></body></html>"


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
        self._tail = b""

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
        head, found, rest = self._received.partition(b"\r\n\r\n")
        if not found:
            return
        line, *headers = head.decode("latin-1").split("\r\n")
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
            self.transport.write(_head(200, 2) + b"{}")
        elif path == "/counts":
            counts = self.account.counts()
            self.transport.write(_head(200, len(counts)) + counts)
        else:
            asked = json.loads(body)
            ask = int(asked["messages"][-1]["content"].split(" ", 1)[0])
            self.made = made = self.account.begin(ask, asked["model"])
            delay = self.account.plan.delay(made.model, ask, made.number)
            perform = _PERFORM[made.fault]
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

    def pour(self, head: bytes, tail: bytes) -> None:
        """Send a long answer with a filler in its middle, no faster than the client takes it."""
        self.transport.write(head)
        self._left, self._tail = _FILLER, tail
        self._pour()

    def _pour(self) -> None:
        while self._left and not self._paused and not self.transport.is_closing():
            piece, self._left = self._left[:_PIECE], self._left[_PIECE:]
            self.transport.write(piece)
            if not self._left and self.made is not None:
                self.send(self.made, "served", self._tail)


def _head(status: int, size: int, **headers: str) -> bytes:
    fields = {"content-type": "application/json", "date": _http_date(), "content-length": str(size)}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} Said\r\n{lines}\r\n".encode()


def _http_date(later: timedelta = timedelta(0)) -> str:
    return format_datetime(datetime.now(UTC) + later, usegmt=True)  # noqa: TID251 - a server's Date


def _completion(made: Served, tail: str = "") -> bytes:
    prompt_tokens, completion_tokens = usage(made.model, made.ask)
    logprob = -0.05 if is_sure(made.model, made.ask) else -1.2
    token = {"token": "so", "logprob": logprob, "top_logprobs": []}
    text = answer_text(made.model, made.ask) + tail
    choice = {
        "message": {"role": "assistant", "content": text},
        "finish_reason": "stop",
        "logprobs": {"content": [token, token]},
    }
    tokens = {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens}
    return json.dumps({"model": made.model, "choices": [choice], "usage": tokens}).encode()


def _answer(made: Served, **headers: str) -> bytes:
    body = _completion(made)
    return _head(200, len(body), **headers) + body


def _error(status: int, kind: str, **headers: str) -> bytes:
    body = json.dumps({"error": {"type": kind, "message": "no"}}).encode()
    return _head(status, len(body), **headers) + body


def _healthy(at: Connection, made: Served) -> None:
    at.send(made, "served", _answer(made))


def _wrong_type(at: Connection, made: Served) -> None:
    at.send(made, "served", _answer(made, content_type="text/html; charset=latin-1"))


def _ten_megabytes(at: Connection, made: Served) -> None:
    before, after = _completion(made, "…").split(b"\\u2026")
    at.pour(_head(200, len(before) + len(_FILLER) + len(after)) + before, after)


def _refusing(status: int, kind: str) -> Callable[[Connection, Served], None]:
    def refuse(at: Connection, made: Served) -> None:
        at.send(made, "refused", _error(status, kind))

    return refuse


def _html(at: Connection, made: Served) -> None:
    at.send(made, "refused", _head(502, len(_HTML), content_type="text/html") + _HTML)


def _limited_for_seconds(at: Connection, made: Served) -> None:
    seconds = f"{at.account.plan.retry_after_s:g}"
    at.send(made, "refused", _error(429, "rate_limit_exceeded", retry_after=seconds))


def _limited_until(at: Connection, made: Served) -> None:
    until = _http_date(timedelta(seconds=at.account.plan.retry_after_s))
    at.send(made, "refused", _error(429, "rate_limit_exceeded", retry_after=until))


def _limited_by_a_wrong_clock(at: Connection, made: Served) -> None:
    until = _http_date(timedelta(seconds=at.account.plan.retry_after_s) - _SKEW)
    said = _error(429, "rate_limit_exceeded", retry_after=until, date=_http_date(-_SKEW))
    at.send(made, "refused", said)


def _reset(at: Connection, made: Served) -> None:
    at.reset(made)


def _cut_in_body(at: Connection, made: Served) -> None:
    whole = _answer(made)
    at.cut(made, whole[:-100])


def _cut_in_stream(at: Connection, made: Served) -> None:
    head = (
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    event = 'data: {"choices":[{"delta":{"content":"so"}}]}\n\n'
    at.cut(made, f"{head}{len(event):x}\r\n{event}\r\n{len(event):x}\r\n{event}\r\n".encode())


def _truncated_chunks(at: Connection, made: Served) -> None:
    body = _completion(made)
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    at.cut(made, b"%b%x\r\n%b" % (head, len(body), body[:-100]))


def _hang(at: Connection, made: Served) -> None:
    """Do nothing: the request stays working until the client goes away."""


def _hang_in_body(at: Connection, made: Served) -> None:
    at.transport.write(_answer(made)[:-100])


def _byte_a_second(at: Connection, made: Served) -> None:
    at.crawl(_answer(made))


def _bad_json(at: Connection, made: Served) -> None:
    body = _completion(made)[:-40]
    at.send(made, "garbled", _head(200, len(body)) + body)


def _bad_utf8(at: Connection, made: Served) -> None:
    body = _completion(made).replace(b" says ", b" \xff\xfe\xc3 ")
    at.send(made, "garbled", _head(200, len(body)) + body)


_PERFORM: dict[str | None, Callable[[Connection, Served], None]] = {
    None: _healthy,
    "500": _refusing(500, "server_error"),
    "502-html": _html,
    "429": _refusing(429, "rate_limit_exceeded"),
    "429-seconds": _limited_for_seconds,
    "429-date": _limited_until,
    "skewed-dates": _limited_by_a_wrong_clock,
    "401": _refusing(401, "invalid_api_key"),
    "400": _refusing(400, "invalid_request_error"),
    "reset": _reset,
    "cut-in-body": _cut_in_body,
    "cut-in-stream": _cut_in_stream,
    "truncated-chunks": _truncated_chunks,
    "hang": _hang,
    "hang-in-body": _hang_in_body,
    "byte-a-second": _byte_a_second,
    "bad-json": _bad_json,
    "bad-utf8": _bad_utf8,
    "wrong-type": _wrong_type,
    "10-mb": _ten_megabytes,
}


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
