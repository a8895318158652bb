"""HTTP/1.1 connections on asyncio: each carries one request at a time and is kept for the next.

httptools parses (the parser of Node and uvicorn); this module only moves bytes and keeps order. It
is what makes hundreds of calls at once cheap: 25 µs a call where aiohttp takes 110 and httpx 1,700.
"""

from __future__ import annotations

import asyncio  # noqa: TID251 - this is the asyncio half of the transport; trio has httpx
import contextlib
import socket
import ssl
import zlib
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, Protocol

from .faults import BrokenAnswer, Cut, Late, TooLarge, Unsent

__all__ = ["Connections", "HttpResponse", "Origin"]

_IDLE_S = 15.0
"""Seconds a connection is kept for the next request."""

_EYEBALLS_S = 0.25
"""Seconds after which the next address of a host is tried beside the first."""

_MOST_CONNECTING = 64
"""Connections opened at a time: in a crowd each would otherwise outlast its own timeout."""

_SWEEP_S = 5.0
"""Seconds between looks for connections that have been idle for too long."""

_CLOSING_TURNS = 100
"""Most turns of the event loop to wait until it has told each connection that it is gone."""

_JOINED_BYTES = 64 * 1024
"""Bodies up to this size leave in one write with their head."""


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


class Connections:
    """All connections of one transport, on one event loop."""

    def __init__(
        self,
        new_parser: Callable[[Any], Parser],
        parser_errors: tuple[type[Exception], ...],
        *,
        most: int,
        connect_timeout_s: float,
        most_bytes: int,
        first_byte_s: float | None = None,
        between_s: float | None = None,
    ) -> None:
        self.first_byte_s = first_byte_s
        """Seconds from a request to the head of its answer; None: only the whole is timed."""
        self.between_s = between_s
        """Seconds between two pieces of an answer; None: only the whole is timed."""
        self._loop = asyncio.get_running_loop()
        self._new_parser = new_parser
        self._parser_errors = parser_errors
        self._most = most
        self._connect_timeout_s = connect_timeout_s
        self._most_bytes = most_bytes
        self._permits = asyncio.Semaphore(most)
        self._connecting = asyncio.Semaphore(_MOST_CONNECTING)
        self._lookups: dict[str, asyncio.Future[Any]] = {}
        self._known_hosts: set[str] = set()
        self._idle: dict[Origin, deque[_Connection]] = {}
        self._open: set[_Connection] = set()
        self._closed = False
        self._sweeping: asyncio.TimerHandle | None = None

    async def exchange(
        self, origin: Origin, head: bytes, body: bytes, timeout_s: float
    ) -> HttpResponse:
        """Send a request and return its answer.

        A kept connection that turns out to be closed before any of the answer has come is replaced
        by a fresh one, once.

        Raises:
            Unsent: No connection, or none in time, and the request has not left on another one.
            OSError: The connection ended (`Cut`) before the answer was complete.
            Late: Not answered, not begun or not gone on with in time.
            BrokenAnswer: What came is not HTTP.
            TooLarge: The body passes the limit.
        """
        deadline = self._loop.time() + timeout_s
        if self._permits.locked():
            try:
                async with asyncio.timeout_at(deadline):
                    await self._permits.acquire()
            except TimeoutError as exc:
                raise Unsent(Late.free(timeout_s)) from exc
        else:
            await self._permits.acquire()
        try:
            connection = self._take_idle(origin)
            sent = connection is not None
            if connection is not None:
                try:
                    return await connection.exchange(head, body, deadline, timeout_s)
                except TimeoutError:
                    raise
                except OSError:
                    if connection.touched or self._closed:
                        raise
            try:
                connection = await self._connect(origin, deadline, timeout_s)
            except OSError as exc:
                if sent:  # a server that died over it may have done what it was asked
                    raise
                raise Unsent(exc) from exc
            return await connection.exchange(head, body, deadline, timeout_s)
        finally:
            self._permits.release()

    async def aclose(self) -> None:
        """Close every connection; calls in flight fail with `Cut`."""
        self._closed = True
        if self._sweeping is not None:
            self._sweeping.cancel()
        for lookup in self._lookups.values():
            lookup.cancel()
        for connection in list(self._open):
            connection.abort()
        for _ in range(_CLOSING_TURNS):
            if not self._open:
                break
            await asyncio.sleep(0)

    def give_back(self, connection: _Connection) -> None:
        """Keep a connection whose answer is complete for the next request."""
        if self._closed:
            connection.abort()
            return
        kept = self._idle.setdefault(connection.origin, deque())
        connection.idle_since = self._loop.time()
        kept.append(connection)
        if self._sweeping is None:
            self._sweeping = self._loop.call_later(_SWEEP_S, self._sweep)

    def forget(self, connection: _Connection) -> None:
        """Drop a connection that is gone."""
        self._open.discard(connection)
        kept = self._idle.get(connection.origin)
        if kept:
            with contextlib.suppress(ValueError):
                kept.remove(connection)

    def _sweep(self) -> None:
        """Close what has been idle for too long; come again while anything is kept."""
        oldest = self._loop.time() - _IDLE_S
        for kept in self._idle.values():
            while kept and kept[0].idle_since < oldest:
                kept.popleft().abort()
        again = any(self._idle.values())
        self._sweeping = self._loop.call_later(_SWEEP_S, self._sweep) if again else None

    def _take_idle(self, origin: Origin) -> _Connection | None:
        kept = self._idle.get(origin)
        while kept:
            connection = kept.pop()
            if connection.usable and connection.idle_since >= self._loop.time() - _IDLE_S:
                return connection
            connection.abort()
        return None

    async def _connect(self, origin: Origin, deadline: float, timeout_s: float) -> _Connection:
        if len(self._open) >= self._most:  # the rest of them idle, perhaps for another origin
            next((kept.popleft() for kept in self._idle.values() if kept), _NOBODY).abort()
        if self._connecting.locked():
            try:
                async with asyncio.timeout_at(deadline):
                    await self._connecting.acquire()
            except TimeoutError as exc:
                raise Late.free(timeout_s) from exc
        else:
            await self._connecting.acquire()
        try:
            now = self._loop.time()
            limit = asyncio.timeout_at(min(deadline, now + self._connect_timeout_s))
            async with limit:
                if not origin.is_address and origin.host not in self._known_hosts:
                    await self._look_up(origin)
                _, connection = await self._loop.create_connection(
                    lambda: _Connection(self, origin, self._new_parser, self._parser_errors),
                    origin.host,
                    origin.port,
                    ssl=origin.tls,
                    # An address leaves no choice to race for, and a race costs tasks.
                    happy_eyeballs_delay=None if origin.is_address else _EYEBALLS_S,
                )
        except OSError as exc:
            self._known_hosts.discard(origin.host)
            if not limit.expired():  # a timeout of the system's own, too
                raise
            raise Late.connecting(self._connect_timeout_s, timeout_s) from exc
        finally:
            self._connecting.release()
        connection.most_bytes = self._most_bytes
        return connection

    async def _look_up(self, origin: Origin) -> None:
        """Wait until the host's name is known to lead somewhere; a crowd waits for one lookup.

        Names are looked up in a few threads, and nothing cuts that short: each call with a lookup of
        its own, one dead name would take every thread for as long as the resolver pleases.
        """
        host = origin.host
        lookup = self._lookups.get(host)
        if lookup is None:
            lookup = self._lookups[host] = self._loop.run_in_executor(
                None, socket.getaddrinfo, host, origin.port
            )
            lookup.add_done_callback(partial(self._end_lookup, host))
        await asyncio.wait([lookup])
        if lookup.cancelled():
            raise Cut
        error = lookup.exception()
        if isinstance(error, OSError):
            raise type(error)(*error.args)  # each waiter one of its own
        lookup.result()
        self._known_hosts.add(host)

    def _end_lookup(self, host: str, lookup: asyncio.Future[Any]) -> None:
        del self._lookups[host]
        if not lookup.cancelled():
            lookup.exception()  # looked at, should all who waited have gone

    def add(self, connection: _Connection) -> None:
        """Take note of a connection that is open."""
        self._open.add(connection)


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


class _Nobody:
    def abort(self) -> None:
        """Have nothing to close."""


_NOBODY = _Nobody()


class _Connection(asyncio.Protocol):
    """One connection. The `on_…` methods are called by the parser."""

    _headed: bool
    _until_end: bool
    _complete: bool
    _keep: bool
    _timer: asyncio.TimerHandle

    def __init__(
        self,
        owner: Connections,
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
        self._begin()

    @property
    def usable(self) -> bool:
        """Whether a request can be sent."""
        return self._transport is not None and not self._transport.is_closing()

    async def exchange(
        self, head: bytes, body: bytes, deadline: float, timeout_s: float
    ) -> HttpResponse:
        """Send a request and wait for the whole answer; a failure of any kind closes."""
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
        try:
            await waiting
            answer = HttpResponse(self._status, self._headers, self._whole_body())
        except BaseException:  # cancelled too: the server is to stop, not to answer nobody
            self.abort()
            raise
        finally:
            self._timer.cancel()
            self._waiting = None
        keep = self._keep
        self._begin()  # an idle connection must not hold on to the answer
        if keep and not transport.get_write_buffer_size():
            self._owner.give_back(self)
        else:
            self.abort()
        return answer

    def abort(self) -> None:
        """Close at once, whatever is still to be sent."""
        if self._transport is not None:
            self._transport.abort()

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note the transport; long silences are normal, so the system is asked to probe."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        opened = transport.get_extra_info("socket")
        if opened is not None:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._owner.add(self)

    def data_received(self, data: bytes) -> None:
        """Parse, and wake the waiting request when its answer is complete."""
        waiting = self._waiting
        if waiting is None or waiting.done():
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
        elif self._complete:
            waiting.set_result(None)
        elif self._headed and self._owner.between_s is not None:
            self._silent_since = self._loop.time()
            if not headed:  # what is due now may be due before that which the timer waits for
                self._timer.cancel()
                self._timer = self._loop.call_at(self._due(), self._on_timer)

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
        if self._headed and self._until_end and exc is None and self._waiting is not None:
            self._keep = False
            if not self._waiting.done():
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
        self._pieces: list[bytes] = []
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
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(exc)

    def _whole_body(self) -> bytes:
        coding = self._headers.get("content-encoding", "identity").lower()
        if coding == "identity":
            pieces = self._pieces
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if coding not in ("gzip", "x-gzip", "deflate"):
            raise BrokenAnswer("an unknown Content-Encoding")
        return _unpacked(b"".join(self._pieces), self.most_bytes)


def _unpacked(packed: bytes, most: int) -> bytes:
    """Return what gzip or zlib packed, up to `most` bytes."""
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
    try:
        body = unpacker.decompress(packed, most)
    except zlib.error as exc:
        raise BrokenAnswer("damaged compression") from exc
    if unpacker.unconsumed_tail:
        raise TooLarge(most)
    if not unpacker.eof:
        raise BrokenAnswer("compression cut short")
    return body
