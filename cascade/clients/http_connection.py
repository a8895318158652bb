"""One HTTP/1.1 connection on asyncio: it carries one request at a time, and its answer whole or in pieces.

httptools parses (the parser of Node and uvicorn); this module only moves bytes and keeps order.
"""

from __future__ import annotations

import asyncio  # noqa: TID251 - this is the asyncio half of the transport; trio has httpx
import socket
import ssl
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, cast

from .faults import BrokenAnswer, Cut, Late, TooLarge
from .unpacking import Unpacker, coding_of, unpacked

__all__ = ["Connection", "HttpResponse", "Origin", "Owner", "Parser"]

_JOINED_BYTES = 64 * 1024
"""Bodies up to this size leave in one write with their head."""

_MOST_UNREAD_BYTES = 256 * 1024
"""Bytes of a body that may wait for who reads it in pieces; then nothing more is taken from the socket."""


class Origin(NamedTuple):
    """Where connections lead; only connections of one origin serve each other's requests."""

    host: str
    port: int
    tls: ssl.SSLContext | None
    is_address: bool


class HttpResponse(NamedTuple):
    """A whole HTTP answer; the names of `headers` are in lower case, or found in any.

    In other cases all is understood but the rate limits of good answers, which nobody spends time on.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


class Parser(Protocol):
    """What is used of `httptools.HttpResponseParser`."""

    def feed_data(self, data: bytes) -> None: ...
    def get_status_code(self) -> int: ...
    def should_keep_alive(self) -> bool: ...


class Owner(Protocol):
    """Who keeps connections, as a connection knows it; see `connection.Connections`."""

    first_byte_s: float | None
    between_s: float | None

    def add(self, connection: Connection) -> None: ...
    def forget(self, connection: Connection) -> None: ...
    def give_back(self, connection: Connection) -> None: ...


class _Gone:
    def feed_data(self, data: bytes) -> None:
        """Take nothing in: the connection is gone."""

    def get_status_code(self) -> int:
        """Return no status."""
        return 0

    def should_keep_alive(self) -> bool:
        """Return False: there is nothing to keep."""
        return False


_GONE = _Gone()


class Connection(asyncio.Protocol):
    """One connection. The `on_…` methods are called by the parser."""

    _headed: bool
    _until_end: bool
    _complete: bool
    _keep: bool
    _timer: asyncio.TimerHandle
    _pieces: list[bytes]

    def __init__(
        self,
        owner: Owner,
        origin: Origin,
        new_parser: Callable[[Any], Parser],
        parser_errors: tuple[type[Exception], ...],
    ) -> None:
        self.origin = origin
        self.idle_since = 0.0
        self.most_bytes = 0
        self.touched = False
        """Whether anything has come since the request was sent."""
        self._owner = owner
        self._parser: Parser = new_parser(self)
        self._parser_errors = parser_errors
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[None] | None = None
        self._deadline = 0.0
        self._timeout_s = 0.0
        self._silent_since = 0.0
        self._sending = False
        self._in_pieces = False
        self._paused = False
        self._failure: Exception | None = None
        self._unpacker: Unpacker | None = None
        self._begin()

    @property
    def status(self) -> int:
        """Status of the answer whose head has come."""
        return self._status

    @property
    def headers(self) -> Mapping[str, str]:
        """Its headers, names in lower case."""
        return self._headers

    @property
    def usable(self) -> bool:
        """Whether a request can be sent."""
        return self._transport is not None and not self._transport.is_closing()

    async def exchange(
        self, head: bytes, body: bytes, deadline: float, timeout_s: float
    ) -> HttpResponse:
        """Send a request and wait for the whole answer; a failure of any kind closes."""
        waiting = self._send(head, body, deadline, timeout_s)
        try:
            await waiting
            answer = HttpResponse(self._status, self._headers, self._whole_body())
        except BaseException:  # cancelled too: the server is to stop, not to answer nobody
            self.abort()
            raise
        finally:
            self._timer.cancel()
            self._waiting = None
        self._give_back()
        return answer

    async def begin(
        self, head: bytes, body: bytes, deadline: float, timeout_s: float
    ) -> Connection:
        """Send a request and wait for the head of its answer; then `receive` and, at last, `finish`."""
        self._failure, self._unpacker, self._in_pieces = None, None, True
        waiting = self._send(head, body, deadline, timeout_s)
        try:
            while not self._headed:
                await waiting
                self._waiting = waiting = self._loop.create_future()
            if coding_of(self._headers) is not None:
                self._unpacker = Unpacker(self.most_bytes)
        except BaseException:
            self.finish()
            raise
        self._waiting = None
        return self

    async def receive(self) -> bytes:
        """Return what has come of the body since the last time; b"" at its end.

        Raises:
            OSError: The connection ended (`Cut`) before the body did, or in its time (`Late`).
            BrokenAnswer: What came is not HTTP, or its compression is damaged.
            TooLarge: The body passes the limit.
        """
        while True:
            if self._pieces:
                data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
                self._pieces = []
                if self._paused and self._transport is not None:
                    self._paused = False
                    self._transport.resume_reading()
                if self._unpacker is not None:
                    data = self._unpacker.add(data)
                if data:
                    return data
            elif self._complete:
                if self._unpacker is not None:
                    self._unpacker.end()
                return b""
            elif self._failure is not None:
                raise self._failure
            else:
                self._silent_since = self._loop.time()
                self._waiting = self._loop.create_future()
                try:
                    await self._waiting
                finally:
                    self._waiting = None

    def finish(self) -> None:
        """End the exchange: the connection is kept if all of the answer has come, and closed if not."""
        self._timer.cancel()
        self._waiting, self._in_pieces, self._unpacker = None, False, None
        if self._complete and self._failure is None and not self._paused:
            self._give_back()
        else:
            self.abort()

    def _send(
        self, head: bytes, body: bytes, deadline: float, timeout_s: float
    ) -> asyncio.Future[None]:
        """Write a request; return what is done when its answer is whole, or the more of it has come."""
        transport = self._transport
        if transport is None:
            raise Cut
        self.touched = False
        self._begin()
        self._waiting = waiting = self._loop.create_future()
        if len(body) <= _JOINED_BYTES:
            transport.write(b"%b%d\r\n\r\n%b" % (head, len(body), body))
        else:
            transport.write(b"%b%d\r\n\r\n" % (head, len(body)))
            transport.write(body)
        self._deadline, self._timeout_s = deadline, timeout_s
        if self._owner.first_byte_s is not None:
            self._silent_since = self._loop.time()
        self._timer = self._loop.call_at(self._due(), self._on_timer)
        return waiting

    def _give_back(self) -> None:
        """Keep the connection for the next request, if it can be."""
        keep, transport = self._keep, self._transport
        self._begin()  # an idle connection must not hold on to the answer
        if keep and transport is not None and not transport.get_write_buffer_size():
            self._owner.give_back(self)
        else:
            self.abort()

    def abort(self) -> None:
        """Close at once, whatever is still to be sent."""
        if self._transport is not None:
            self._transport.abort()

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note the transport; long silences are normal, so the system is asked to probe."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's only behaves like one
        opened = transport.get_extra_info("socket")
        if opened is not None:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._owner.add(self)

    def data_received(self, data: bytes) -> None:
        """Parse, and wake the waiting request when its answer is complete."""
        waiting = self._waiting
        if (waiting is None or waiting.done()) and not self._in_pieces:
            self.abort()  # nobody has asked: a server's farewell to an idle connection
            return
        self.touched = True
        headed = self._headed
        try:
            self._parser.feed_data(data)
        except self._parser_errors as exc:
            self._fail(BrokenAnswer(type(exc).__name__))
            return
        if self._size > self.most_bytes:
            self._fail(TooLarge(self.most_bytes))
            return
        if self._in_pieces:
            self._hand_over()
        elif self._complete:
            assert waiting is not None
            waiting.set_result(None)
            return
        if self._headed and not self._complete and self._owner.between_s is not None:
            self._silent_since = self._loop.time()
            if not headed:  # what is due now may be due before that which the timer waits for
                self._timer.cancel()
                self._timer = self._loop.call_at(self._due(), self._on_timer)

    def _hand_over(self) -> None:
        """Wake who reads the body in pieces; take no more from the socket while much is unread."""
        if self._headed and self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)
        elif not self._paused and sum(map(len, self._pieces)) > _MOST_UNREAD_BYTES:
            assert self._transport is not None
            self._paused = True
            self._transport.pause_reading()

    def pause_writing(self) -> None:
        """Note that the request is still leaving: no answer is to be expected yet."""
        self._sending = True

    def resume_writing(self) -> None:
        """Note that the request, all but the last bytes, has left."""
        self._sending = False
        self._silent_since = self._loop.time()

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the waiting request, unless the end of the connection ends its body."""
        self._transport = None
        self._owner.forget(self)
        self._parser = (
            _GONE  # a parser holds its connection: this opens the circle for the refcount
        )
        asked = self._waiting is not None or self._in_pieces
        if self._headed and self._until_end and exc is None and asked:
            self._keep = False
            self._complete = True
            if self._waiting is not None and not self._waiting.done():
                self._waiting.set_result(None)
        else:
            self._fail(exc if isinstance(exc, OSError) else Cut())

    # What the parser calls.

    def on_message_begin(self) -> None:
        """Start an answer; a second one to the same request is nobody's."""
        if self._complete:
            self._keep = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a header; repeated ones are joined."""
        if self._complete:
            return  # of a second answer that nobody has asked for
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        known = self._headers.get(key)
        self._headers[key] = text if known is None else f"{known}, {text}"

    def on_headers_complete(self) -> None:
        """Note the status, and whether only the end of the connection will end the body."""
        if self._complete:
            return
        self._headed = True
        self._status = self._parser.get_status_code()
        headers = self._headers
        self._until_end = "content-length" not in headers and "transfer-encoding" not in headers

    def on_body(self, piece: bytes) -> None:
        """Collect a piece of the body."""
        if self._complete:
            return
        self._size += len(piece)
        if self._size <= self.most_bytes:
            self._pieces.append(piece)

    def on_message_complete(self) -> None:
        """Note that the answer is whole; an interim one (1xx) is dropped."""
        if self._status < 200:
            self._begin()
        elif not self._complete:
            self._complete = True
            self._keep = self._parser.should_keep_alive()

    def _begin(self) -> None:
        self._status = 0
        self._headers: dict[str, str] = {}
        self._pieces = []
        self._size = 0
        self._headed = False
        self._until_end = False
        self._complete = False
        self._keep = False

    def _due(self) -> float:
        """Return when the exchange is given up unless something more comes, on the loop's clock."""
        # An interim answer (1xx) is not its beginning.
        patience = self._owner.between_s if self._headed else self._owner.first_byte_s
        if patience is None:
            return self._deadline
        if self._in_pieces and self._waiting is None:  # it is the reader who takes his time
            self._silent_since = self._loop.time()
        return min(self._deadline, self._silent_since + patience)

    def _on_timer(self) -> None:
        """Give up, or come again when it is due by now: pieces that come in do not touch the timer."""
        now = self._loop.time()
        if self._sending and not self._headed:
            self._silent_since = now
        due = self._due()
        if now < due:
            self._timer = self._loop.call_at(due, self._on_timer)
            return
        owner = self._owner
        if now >= self._deadline:
            self._fail(Late.whole(self._timeout_s))
        elif self._headed:
            self._fail(Late.between(owner.between_s or 0.0))
        else:
            self._fail(Late.first(owner.first_byte_s or 0.0))

    def _fail(self, exc: Exception) -> None:
        if self._in_pieces and not self._complete:
            self._failure = self._failure or exc
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(exc)

    def _whole_body(self) -> bytes:
        if coding_of(self._headers) is None:
            pieces = self._pieces
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)
        return unpacked(b"".join(self._pieces), self.most_bytes)
