"""What goes wrong below HTTP, and what it means: one of three errors each.

httpx's classes are told apart by name, so that it need not be imported for it.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from ..errors import BadResponse, ConnectFailed, ProviderError, ProviderTimeout

__all__ = ["SILENT", "BrokenAnswer", "Cut", "Late", "TooLarge", "Unsent", "translated"]

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


class Late(TimeoutError):
    """A time that is set for a part of the exchange ran out.

    Args:
        missing: What had not come, up to the name of the host: "nothing of an answer from".
        setting: The key that sets the time.
        seconds: The time.
    """

    def __init__(self, missing: str, setting: str, seconds: float) -> None:
        super().__init__(f"{missing} … within {setting} {seconds:g}")
        self.missing = missing
        self.limit = f"{setting} {seconds:g}"

    @classmethod
    def whole(cls, timeout_s: float) -> Late:
        """Return that of the whole exchange."""
        return cls("no whole answer from", "timeout_s", timeout_s)

    @classmethod
    def free(cls, timeout_s: float) -> Late:
        """Return that of a call that waited for its turn until the end."""
        return cls("no free connection to", "timeout_s", timeout_s)

    @classmethod
    def connecting(cls, connect_timeout_s: float, timeout_s: float) -> Late:
        """Return that of opening a connection."""
        if connect_timeout_s < timeout_s:
            return cls("no connection to", "connect_timeout_s", connect_timeout_s)
        return cls("no connection to", "timeout_s", timeout_s)

    @classmethod
    def first(cls, seconds: float) -> Late:
        """Return that of an answer's beginning."""
        return cls("nothing of an answer from", "first_token_timeout_s", seconds)

    @classmethod
    def between(cls, seconds: float) -> Late:
        """Return that of each further piece."""
        return cls("no more of the answer from", "between_tokens_timeout_s", seconds)


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
    elif isinstance(exc, Late):
        kind, words = ProviderTimeout, f"{exc.missing} {host} within {exc.limit}"
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
