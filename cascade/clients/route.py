"""How to get to a host: origin and request head, the environment's proxy, certificates to trust."""

from __future__ import annotations

import functools
import ipaddress
import ssl
import urllib.request
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from ..errors import ConfigError
from .connection import Origin

__all__ = ["Route", "proxy_for", "route_to", "tls_context"]


class Route(NamedTuple):
    """Where a request goes, and its head up to the value of `content-length`."""

    origin: Origin
    head: bytes


def route_to(url: str, headers: Mapping[str, str]) -> Route:
    """Return the route of POST requests to `url`.

    Raises:
        ConfigError: The URL or a header cannot be sent; a header's value is not shown.
    """
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").encode("idna").decode()
        port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    except (ValueError, KeyError) as exc:
        raise ConfigError("base_url: not an http or https URL") from exc
    name = f"[{host}]" if ":" in host else host
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~") + ("?" if parts.query else "")
    path += quote(parts.query, safe="/%:@!$&'()*+,;=~?[]")
    head = f"POST {path} HTTP/1.1\r\nhost: {name}{f':{parts.port}' if parts.port else ''}\r\n"
    for header, value in headers.items():
        if not (header + value).isascii() or not (header + value).isprintable():
            raise ConfigError(f"headers.{header!r}: cannot be sent; allowed: printable ASCII")
        head += f"{header}: {value}\r\n"
    tls = tls_context() if parts.scheme == "https" else None
    return Route(Origin(host, port, tls, _is_address(host)), f"{head}content-length: ".encode())


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


@functools.lru_cache(maxsize=1)
def tls_context() -> ssl.SSLContext:
    """Return a context that trusts the system's certificates and certifi's.

    The system's alone are missing in slim containers; certifi's alone lack a company's own.
    """
    import certifi

    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    context.set_alpn_protocols(["http/1.1"])
    return context


def proxy_for(url: str) -> str | None:
    """Return the proxy that the environment (or the system) names for `url`, or None.

    Raises:
        ConfigError: It is of a kind that cannot be used; the call must not go around it.
    """
    parts = urlsplit(url)
    proxies = urllib.request.getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or urllib.request.proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    kind = urlsplit(proxy if "://" in proxy else f"http://{proxy}").scheme
    if kind not in ("http", "https"):
        raise ConfigError(
            f"the environment names a {kind} proxy for {parts.scheme} URLs; allowed: http and "
            "https proxies, or an httpx.AsyncClient of your own as the transport"
        )
    return proxy if "://" in proxy else f"http://{proxy}"
