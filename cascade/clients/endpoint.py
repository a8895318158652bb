"""Where a provider is reached and the headers sent to it, checked before the first call."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from ..errors import ConfigError, ProviderTimeout
from ..ports import Clock
from ..types import ModelCall

__all__ = ["auth_value", "endpoint_url", "headers_for", "json_headers", "time_for"]


def endpoint_url(provider: str, base_url: str, path: str, *, default_path: str = "") -> str:
    """Return the URL to post to; a query of the base URL (Azure's `api-version`) is kept.

    Raises:
        ConfigError: Not an http or https URL, or one with a fragment or with credentials.

    >>> endpoint_url("local", "http://127.0.0.1:8080/v1/", "/chat/completions")
    'http://127.0.0.1:8080/v1/chat/completions'
    """
    try:
        parts = urlsplit(base_url)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname)
        sound = sound and parts.port != 0 and base_url.isprintable() and " " not in base_url
    except ValueError:  # a port or an IPv6 address that is none
        sound = False
    if not sound:
        raise ConfigError(
            f"providers.{provider}.base_url: not a URL; allowed: http://host or https://host, "
            "with a port and a path if need be"
        )
    if parts.fragment or "@" in parts.netloc:
        raise ConfigError(
            f"providers.{provider}.base_url: a fragment or credentials cannot be part of it; "
            "use api_key or headers"
        )
    base = parts.path.rstrip("/") or default_path
    return parts._replace(path=base + path).geturl()


def auth_value(provider: str, value: str) -> str:
    """Return a header value that holds a key.

    Raises:
        ConfigError: It cannot be a header; the message does not show it.
    """
    if not (value.isascii() and value.isprintable()) or value != value.strip():
        raise ConfigError(
            f"providers.{provider}.api_key: holds white space, a line break or a character that "
            "cannot be sent; allowed: printable ASCII"
        )
    return value


def json_headers(
    provider: str, auth: Mapping[str, str], extra: Mapping[str, str] | None
) -> dict[str, str]:
    """Return all headers of a call, in lower case; `extra` wins.

    Raises:
        ConfigError: A header of `extra` cannot be sent; the message does not show its value.
    """
    for name, value in (extra or {}).items():
        token = name.isascii() and name.replace("-", "").replace("_", "").isalnum()
        if not token or not (value.isascii() and value.isprintable()):
            raise ConfigError(
                f"providers.{provider}.headers.{name if token else '?'}: cannot be sent; allowed: "
                "names of letters, digits and hyphens, values of printable ASCII"
            )
    return {
        "content-type": "application/json",
        "accept": "application/json",
        "accept-encoding": "gzip, deflate",
        "user-agent": "cascade-ask",
        **auth,
        **{name.lower(): value for name, value in (extra or {}).items()},
    }


def headers_for(call: ModelCall, headers: Mapping[str, str]) -> Mapping[str, str]:
    """Return the headers of a call: the client's own, which win, and those of this call alone."""
    return {**call.headers, **headers} if call.headers else headers


def time_for(call: ModelCall, timeout_s: float, clock: Clock, provider: str) -> float:
    """Return the seconds a call may take: the provider's timeout, or what its ask has left of its own.

    Raises:
        ProviderTimeout: Nothing is left; no request is made.
    """
    deadline = call.context.deadline
    if deadline is None:
        return timeout_s
    left_s = deadline - clock.monotonic()
    if left_s <= 0.0:
        message = "the ask's time was over before the request was sent"
        raise ProviderTimeout(message, provider=provider, model=call.model, sent=False)
    return min(timeout_s, left_s)
