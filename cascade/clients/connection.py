"""HTTP/1.1 connections on asyncio: each is kept for the next request once its answer is read.

They are what makes hundreds of calls at once cheap: 25 µs a call where aiohttp takes 110 and httpx
1,700.
"""

from __future__ import annotations

import asyncio  # noqa: TID251 - this is the asyncio half of the transport; trio has httpx
import contextlib
import socket
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

from .faults import Cut, Late, Unsent
from .http_connection import Connection, HttpResponse, Origin, Parser

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
_T = TypeVar("_T")


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
        # uvloop knows no such race, and tries one address after the other.
        races = isinstance(self._loop, asyncio.BaseEventLoop)
        self._race: dict[str, Any] = {"happy_eyeballs_delay": _EYEBALLS_S} if races else {}
        self._new_parser = new_parser
        self._parser_errors = parser_errors
        self._most = most
        self._connect_timeout_s = connect_timeout_s
        self._most_bytes = most_bytes
        self._permits = asyncio.Semaphore(most)
        self._connecting = asyncio.Semaphore(_MOST_CONNECTING)
        self._lookups: dict[str, asyncio.Future[Any]] = {}
        self._known_hosts: set[str] = set()
        self._idle: dict[Origin, deque[Connection]] = {}
        self._open: set[Connection] = set()
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
        await self._acquire(deadline, timeout_s)
        try:
            return await self._on_a_connection(
                origin,
                lambda connection: connection.exchange(head, body, deadline, timeout_s),
                deadline,
                timeout_s,
            )
        finally:
            self._permits.release()

    @contextlib.asynccontextmanager
    async def open(
        self, origin: Origin, head: bytes, body: bytes, timeout_s: float
    ) -> AsyncIterator[Connection]:
        """Send a request and wait for the head of its answer; the body is then received in pieces.

        Leaving before its end closes the connection. What is raised is that of `exchange`.
        """
        deadline = self._loop.time() + timeout_s
        await self._acquire(deadline, timeout_s)
        try:
            connection: Connection = await self._on_a_connection(
                origin,
                lambda connection: connection.begin(head, body, deadline, timeout_s),
                deadline,
                timeout_s,
            )
            try:
                yield connection
            finally:
                connection.finish()
        finally:
            self._permits.release()

    async def _acquire(self, deadline: float, timeout_s: float) -> None:
        """Wait for one of the connections that may be open at a time."""
        if not self._permits.locked():
            await self._permits.acquire()
            return
        try:
            async with asyncio.timeout_at(deadline):
                await self._permits.acquire()
        except TimeoutError as exc:
            raise Unsent(Late.free(timeout_s)) from exc

    async def _on_a_connection(
        self,
        origin: Origin,
        use: Callable[[Connection], Awaitable[_T]],
        deadline: float,
        timeout_s: float,
    ) -> _T:
        """Send by a kept connection, or by a fresh one if that was closed before it answered."""
        connection = self._take_idle(origin)
        sent = connection is not None
        if connection is not None:
            try:
                return await use(connection)
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
        return await use(connection)

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

    def give_back(self, connection: Connection) -> None:
        """Keep a connection whose answer is complete for the next request."""
        if self._closed:
            connection.abort()
            return
        kept = self._idle.setdefault(connection.origin, deque())
        connection.idle_since = self._loop.time()
        kept.append(connection)
        if self._sweeping is None:
            self._sweeping = self._loop.call_later(_SWEEP_S, self._sweep)

    def forget(self, connection: Connection) -> None:
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

    def _take_idle(self, origin: Origin) -> Connection | None:
        kept = self._idle.get(origin)
        while kept:
            connection = kept.pop()
            if connection.usable and connection.idle_since >= self._loop.time() - _IDLE_S:
                return connection
            connection.abort()
        return None

    async def _connect(self, origin: Origin, deadline: float, timeout_s: float) -> Connection:
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
                    lambda: Connection(self, origin, self._new_parser, self._parser_errors),
                    origin.host,
                    origin.port,
                    ssl=origin.tls,
                    # An address leaves no choice to race for, and a race costs tasks.
                    **({} if origin.is_address else self._race),
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

    def add(self, connection: Connection) -> None:
        """Take note of a connection that is open."""
        self._open.add(connection)


class _Nobody:
    def abort(self) -> None:
        """Have nothing to close."""


_NOBODY = _Nobody()
