"""POST over HTTP: the only module that imports an HTTP library, and only when first used.

On asyncio the default transport moves bytes itself and lets httptools parse them: httpx's connection
pool collapses under concurrency, and even aiohttp would cost as much as all the rest of the engine
(processor time a call at 64 in flight: httpx 1,750 µs, aiohttp 115, this 25). Under trio, and where
a proxy stands between, it is httpx. Whatever is raised below leaves here as one of three errors.

A server may close a kept-alive connection in the moment we send on it. Such a call is sent once
more, at once and on another connection, if it went out on a reused connection and nothing of an
answer had come: otherwise every quiet minute would end in a failed call. Should the server have
read it all the same, a completion is made twice; no caller sees two answers. (httpx chooses its
connections itself: through it, the second may be another one that is gone.)
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import anyio

from ..errors import ConfigError, ProviderError
from .connection import Connections, HttpResponse
from .faults import SILENT, BrokenAnswer, Late, TooLarge, Unsent, translated
from .http_stream import HttpStream
from .route import Route, proxy_for, route_to, tls_context

if TYPE_CHECKING:
    import httpx

__all__ = [
    "AsyncioTransport",
    "DefaultTransport",
    "HttpResponse",
    "HttpxTransport",
    "Limits",
    "Transport",
    "as_transport",
    "default_transport",
]

MAX_CONNECTIONS = 1_000
"""Connections open at a time; further calls wait for one."""

CONNECT_TIMEOUT_S = 10.0
"""Seconds to open a connection, TLS included."""

_MOST_ROUTES = 256
"""Most request heads that are kept made."""

MAX_RESPONSE_BYTES = 64 * 1024 * 1024
"""Largest body taken, after decompression."""


@runtime_checkable
class Transport(Protocol):
    """Sends POST requests."""

    async def post(
        self,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        timeout_s: float,
        provider: str,
        model: str,
    ) -> HttpResponse:
        """Return the answer, whatever its status; redirects are not followed.

        Args:
            url: Where to.
            headers: All headers, beside those that HTTP itself needs.
            body: What to send.
            timeout_s: Seconds the whole exchange may take, waiting for a connection included.
            provider: Named in errors.
            model: Named in errors.

        Raises:
            ConnectFailed: No connection, or it was cut.
            ProviderTimeout: No connection or no whole answer in time.
            BadResponse: The answer is not HTTP, cannot be decompressed or is too large.
        """

    async def aclose(self) -> None:
        """Close every connection. Calling it twice is harmless."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much a transport takes on, and how long it waits for parts of an exchange.

    Attributes:
        max_connections: Connections open at a time; further calls wait for one.
        connect_timeout_s: Seconds to open a connection, TLS included.
        max_response_bytes: Largest body taken, after decompression.
        first_token_timeout_s: Seconds from a request sent to the head of its answer; None: only the
            whole is timed. An answer that is not streamed begins once all of it is written.
        between_tokens_timeout_s: Seconds between two pieces of an answer; None: only the whole is
            timed.
    """

    max_connections: int = MAX_CONNECTIONS
    connect_timeout_s: float = CONNECT_TIMEOUT_S
    max_response_bytes: int = MAX_RESPONSE_BYTES
    first_token_timeout_s: float | None = None
    between_tokens_timeout_s: float | None = None


def default_transport(limits: Limits | None = None) -> DefaultTransport:
    """Return a transport that suits the event loop it is first used on."""
    return DefaultTransport(limits)


def as_transport(given: Any) -> Transport:
    """Return `given` as a transport: an `httpx.AsyncClient`, an `httpx` transport, or one already.

    The caller keeps owning what was given: closing the returned transport leaves an
    `httpx.AsyncClient` open.

    Raises:
        ConfigError: It is none of these.
    """
    httpx = sys.modules.get("httpx")  # whoever holds one of its objects has imported it
    if httpx is not None:
        if isinstance(given, httpx.AsyncClient):
            return HttpxTransport(given)
        if isinstance(given, httpx.AsyncBaseTransport):
            return HttpxTransport(httpx.AsyncClient(transport=given, timeout=None))
    if isinstance(given, Transport):
        return given
    raise ConfigError(
        f"transport: {type(given).__name__} cannot send requests; allowed: httpx.AsyncClient, "
        "httpx.AsyncBaseTransport, or an object with the methods of cascade.clients.http.Transport"
    )


class DefaultTransport:
    """The fitting transport for the running event loop, made at first use.

    After `aclose` it may be used again, on another event loop too.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._chosen: AsyncioTransport | HttpxTransport | None = None

    async def post(
        self,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        timeout_s: float,
        provider: str,
        model: str,
    ) -> HttpResponse:
        """See `Transport.post`."""
        chosen = self._chosen or self._choose()
        return await chosen.post(
            url, headers, body, timeout_s=timeout_s, provider=provider, model=model
        )

    @asynccontextmanager
    async def open(
        self,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        timeout_s: float,
        provider: str,
        model: str,
    ) -> AsyncIterator[HttpStream]:
        """See `http_stream.StreamingTransport.open`."""
        chosen = self._chosen or self._choose()
        async with chosen.open(
            url, headers, body, timeout_s=timeout_s, provider=provider, model=model
        ) as stream:
            yield stream

    def _choose(self) -> AsyncioTransport | HttpxTransport:
        kind = HttpxTransport if _on_trio() else AsyncioTransport
        chosen = self._chosen = kind(limits=self._limits)
        return chosen

    async def aclose(self) -> None:
        """Close every connection."""
        chosen, self._chosen = self._chosen, None
        if chosen is not None:
            await chosen.aclose()


def _on_trio() -> bool:
    return anyio.get_cancelled_exc_class().__module__.partition(".")[0] == "trio"


class AsyncioTransport:
    """The transport for asyncio: our own connections; httpx where a proxy stands between."""

    def __init__(self, *, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._connections: Connections | None = None
        self._routes: dict[tuple[str, tuple[tuple[str, str], ...]], Route | None] = {}
        self._by_proxy: HttpxTransport | None = None

    async def post(
        self,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        timeout_s: float,
        provider: str,
        model: str,
    ) -> HttpResponse:
        """See `Transport.post`."""
        route = self._route(url, headers)
        if route is None:
            return await self._proxied().post(
                url, headers, body, timeout_s=timeout_s, provider=provider, model=model
            )
        try:
            connections = self._connections or self._open()
            return await connections.exchange(route.origin, route.head, body, timeout_s)
        except (OSError, BrokenAnswer, TooLarge, Unsent) as exc:
            raise translated(exc, url=url, provider=provider, model=model) from exc

    @asynccontextmanager
    async def open(
        self,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        timeout_s: float,
        provider: str,
        model: str,
    ) -> AsyncIterator[HttpStream]:
        """See `http_stream.StreamingTransport.open`."""
        route = self._route(url, headers)
        async with AsyncExitStack() as stack:
            if route is None:
                proxied = self._proxied().open(
                    url, headers, body, timeout_s=timeout_s, provider=provider, model=model
                )
                yield await stack.enter_async_context(proxied)
                return
            try:
                connections = self._connections or self._open()
                connection = await stack.enter_async_context(
                    connections.open(route.origin, route.head, body, timeout_s)
                )
            except (OSError, BrokenAnswer, TooLarge, Unsent) as exc:
                raise translated(exc, url=url, provider=provider, model=model) from exc

            async def receive() -> bytes:
                try:
                    return await connection.receive()
                except (OSError, BrokenAnswer, TooLarge) as exc:
                    raise translated(exc, url=url, provider=provider, model=model) from exc

            yield HttpStream(connection.status, connection.headers, receive)

    async def aclose(self) -> None:
        """Close every connection."""
        connections, self._connections = self._connections, None
        by_proxy, self._by_proxy = self._by_proxy, None
        if connections is not None:
            await connections.aclose()
        if by_proxy is not None:
            await by_proxy.aclose()

    def _route(self, url: str, headers: Mapping[str, str]) -> Route | None:
        """Return how to get there, or None when a proxy stands between."""
        try:
            return self._routes[url, tuple(headers.items())]
        except KeyError:
            return self._add_route(url, headers)

    def _proxied(self) -> HttpxTransport:
        if self._by_proxy is None:
            self._by_proxy = HttpxTransport(limits=self._limits)
        return self._by_proxy

    def _add_route(self, url: str, headers: Mapping[str, str]) -> Route | None:
        route = route_to(url, headers) if proxy_for(url) is None else None
        if len(self._routes) >= _MOST_ROUTES:  # callers who make new headers at each call
            self._routes.clear()
        self._routes[url, tuple(headers.items())] = route
        return route

    def _open(self) -> Connections:
        import httptools

        self._connections = Connections(
            httptools.HttpResponseParser,
            (httptools.HttpParserError, httptools.HttpParserUpgrade),
            most=self._limits.max_connections,
            connect_timeout_s=self._limits.connect_timeout_s,
            most_bytes=self._limits.max_response_bytes,
            first_byte_s=self._limits.first_token_timeout_s,
            between_s=self._limits.between_tokens_timeout_s,
        )
        return self._connections


@dataclass(slots=True)
class _Attempt:
    """One try at sending a request by httpx: what is known of its connection."""

    fresh: bool = True  # until the connection is known to be a reused one
    leaving: bool = False
    answered: bool = False
    resent: bool = False


async def _abandon(pieces: AsyncIterator[bytes]) -> None:
    """End a body that is not read to its end.

    httpx reads it through generators inside of generators, and closing the outermost leaves the others
    to the garbage collector, which trio warns of. Cancelled, they all end.
    """
    with anyio.CancelScope(shield=True) as scope, suppress(*_httpx_errors()):
        scope.cancel()
        async for _ in pieces:
            pass


def _httpx_errors() -> tuple[type[Exception], ...]:
    """Return what goes wrong below HTTP when httpx stands between."""
    import httpx

    return (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, TooLarge)


class HttpxTransport:
    """The transport for trio, and for a user's own `httpx.AsyncClient` anywhere."""

    def __init__(
        self, client: httpx.AsyncClient | None = None, *, limits: Limits | None = None
    ) -> None:
        self._limits = limits or Limits()
        self._client = client
        self._given = client is not None

    async def post(
        self,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        timeout_s: float,
        provider: str,
        model: str,
    ) -> HttpResponse:
        """See `Transport.post`."""
        attempt = _Attempt()
        try:
            with anyio.fail_after(timeout_s):
                response = await self._respond(url, headers, body, timeout_s, attempt)
                try:
                    received = bytearray()
                    async for piece in response.aiter_bytes():
                        received += piece
                        if len(received) > self._limits.max_response_bytes:
                            raise TooLarge(self._limits.max_response_bytes)
                finally:
                    await response.aclose()
                return HttpResponse(response.status_code, response.headers, bytes(received))
        except _httpx_errors() as exc:
            raise self._error(exc, attempt, timeout_s, url, provider, model) from exc

    @asynccontextmanager
    async def open(
        self,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        timeout_s: float,
        provider: str,
        model: str,
    ) -> AsyncIterator[HttpStream]:
        """See `http_stream.StreamingTransport.open`."""
        attempt, errors = _Attempt(), _httpx_errors()
        until = anyio.current_time() + timeout_s
        try:
            with anyio.fail_after(timeout_s):
                response = await self._respond(url, headers, body, timeout_s, attempt)
        except errors as exc:
            raise self._error(exc, attempt, timeout_s, url, provider, model) from exc
        pieces = response.aiter_bytes()
        left = self._limits.max_response_bytes

        async def receive() -> bytes:
            nonlocal left
            try:
                with anyio.fail_after(until - anyio.current_time()):
                    piece = await anext(pieces, b"")
                left -= len(piece)
                if left < 0:
                    raise TooLarge(self._limits.max_response_bytes)
                return piece
            except errors as exc:
                raise self._error(exc, attempt, timeout_s, url, provider, model) from exc

        try:
            yield HttpStream(response.status_code, response.headers, receive)
        finally:
            await _abandon(pieces)
            with anyio.CancelScope(shield=True):
                await response.aclose()

    async def aclose(self) -> None:
        """Close every connection, unless the client was given: then it is its owner's to close."""
        if self._client is not None and not self._given:
            client, self._client = self._client, None
            await client.aclose()

    async def _respond(
        self,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        timeout_s: float,
        attempt: _Attempt,
    ) -> httpx.Response:
        """Return the answer once its head has come; by another connection if a kept one was closed."""
        import httpx

        client = self._client or self._open_client()
        try:
            return await self._send(client, url, headers, body, timeout_s, attempt)
        except (httpx.NetworkError, httpx.RemoteProtocolError) as exc:
            malformed = isinstance(exc, httpx.RemoteProtocolError) and SILENT not in str(exc)
            if attempt.fresh or attempt.answered or malformed:
                raise
        attempt.resent = True
        return await self._send(client, url, headers, body, timeout_s, attempt)

    async def _send(
        self,
        client: httpx.AsyncClient,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        timeout_s: float,
        attempt: _Attempt,
    ) -> httpx.Response:
        import httpx

        connecting = False
        limits = self._limits

        async def trace(event: str, _info: Any) -> None:  # httpcore demands a coroutine function
            nonlocal connecting
            if event.startswith("connection."):
                connecting = True
            elif event.endswith(".send_request_headers.started"):
                attempt.fresh, attempt.leaving = connecting, True
            elif event.endswith(".receive_response_headers.complete"):
                attempt.answered = True
                # httpcore reads it anew for the body.
                request.extensions["timeout"]["read"] = limits.between_tokens_timeout_s or timeout_s

        request = client.build_request(
            "POST",
            url,
            content=body,
            headers=dict(headers),
            timeout=httpx.Timeout(
                timeout_s,
                connect=min(limits.connect_timeout_s, timeout_s),
                read=limits.first_token_timeout_s or timeout_s,
            ),
            extensions={"trace": trace},
        )
        return await client.send(request, stream=True, follow_redirects=False)

    def _error(
        self,
        exc: Exception,
        attempt: _Attempt,
        timeout_s: float,
        url: str,
        provider: str,
        model: str,
    ) -> ProviderError:
        """Return what went wrong, in our words."""
        cause = self._told_apart(exc, attempt, timeout_s)
        error = translated(cause, url=url, provider=provider, model=model)
        error.sent = error.sent or attempt.resent
        return error

    def _told_apart(self, exc: Exception, attempt: _Attempt, timeout_s: float) -> Exception:
        """Return `exc`, or for a timeout which of those that are set it was."""
        import httpx

        limits = self._limits
        if isinstance(exc, httpx.ConnectTimeout):
            return Unsent(Late.connecting(limits.connect_timeout_s, timeout_s))
        if isinstance(exc, httpx.PoolTimeout):
            return Unsent(Late.free(timeout_s))
        if not isinstance(exc, (TimeoutError, httpx.TimeoutException)):
            return exc
        if isinstance(exc, httpx.ReadTimeout):
            if attempt.answered and limits.between_tokens_timeout_s is not None:
                return Late.between(limits.between_tokens_timeout_s)
            if not attempt.answered and limits.first_token_timeout_s is not None:
                return Late.first(limits.first_token_timeout_s)
        # A transport that was given may not tell when it sends.
        unsent = not attempt.leaving and not self._given
        return Unsent(Late.free(timeout_s)) if unsent else Late.whole(timeout_s)

    def _open_client(self) -> httpx.AsyncClient:
        import httpx

        most = self._limits.max_connections
        self._client = httpx.AsyncClient(
            limits=httpx.Limits(max_connections=most, max_keepalive_connections=most),
            verify=tls_context(),
            timeout=self._limits.connect_timeout_s,  # each request carries its own
        )
        return self._client
