"""What goes wrong below HTTP, and what it means: one of three errors each.

httpx's classes are told apart by name, so that it need not be imported for it.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from ..errors import BadResponse, ConnectFailed, ProviderError, ProviderTimeout

__all__ = ["SILENT", "BrokenAnswer", "Cut", "TooLarge", "Unsent", "translated"]

SILENT = "without sending a response"
"""How httpcore says that a connection was closed before any of the answer had come."""

_HALF = (SILENT, "without sending complete message", "incomplete chunked read")
"""How httpcore and h11 say that a connection was closed before the whole answer had come."""

_BAD_RESPONSES = frozenset(
    {
        "BrokenAnswer",
        "DecodingError",
        "HTTPStatusError",
        "HttpParserError",
        "HttpParserUpgrade",
        "StreamError",
        "TooManyRedirects",
    }
)


class Cut(ConnectionError):
    """The connection ended before the answer was complete."""


class BrokenAnswer(Exception):
    """What came is not HTTP, or its compression is damaged."""


class TooLarge(Exception):
    """An answer's body passes the size that is taken."""

    def __init__(self, most: int) -> None:
        super().__init__(f"a body of more than {most:,} bytes")


class Unsent(Exception):
    """The request never left; `cause` says why: no connection, or none in time."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


_UNSENT = frozenset(
    {
        *("ConnectError", "ConnectTimeout", "PoolTimeout", "InvalidURL"),
        *("LocalProtocolError", "ProxyError", "UnsupportedProtocol"),
    }
)
"""What httpx raises before a request has left."""


def translated(exc: Exception, *, url: str, provider: str, model: str) -> ProviderError:
    """Return what a transport's exception means, in our words.

    Nothing that an upstream sent is quoted. Of the URL only the host is named: the rest may hold a key.
    """
    unsent = isinstance(exc, Unsent)
    if isinstance(exc, Unsent):
        exc = exc.cause
    names = [cls.__name__ for cls in type(exc).__mro__]
    sent = not unsent and _UNSENT.isdisjoint(names)
    host = urlsplit(url).netloc.rpartition("@")[2]
    if isinstance(exc, TooLarge):
        kind: type[ProviderError] = BadResponse
        words = f"{exc} from {host}"
    elif isinstance(exc, TimeoutError) or "TimeoutException" in names:
        kind, words = ProviderTimeout, f"no answer from {host} in time ({names[0]})"
    elif _means_bad_response(exc, names):
        kind, words = BadResponse, f"not an HTTP answer from {host} ({names[0]})"
    else:
        kind, words = ConnectFailed, f"no connection to {host}, or it was cut ({_cause(exc)})"
    return kind(words, provider=provider, model=model, sent=sent)


def _means_bad_response(exc: Exception, names: list[str]) -> bool:
    """Return whether something came that is no HTTP answer, rather than nothing or half of one."""
    if "RemoteProtocolError" in names:
        return not any(words in str(exc) for words in _HALF)
    return not _BAD_RESPONSES.isdisjoint(names)


def _cause(exc: Exception) -> str:
    """Return the system's words for a failure, which name no more than an address."""
    words = getattr(exc, "strerror", None)
    return f"{type(exc).__name__}: {words}" if isinstance(words, str) else type(exc).__name__
