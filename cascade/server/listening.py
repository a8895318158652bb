"""The socket that connections come in at."""

from __future__ import annotations

import socket

from ..errors import ConfigError

__all__ = ["listen", "url_of"]

_BACKLOG = 2048


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket.

    Raises:
        ConfigError: It cannot be listened there.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named: else asyncio does not switch Nagle's algorithm off, and every answer
    # waits 40 ms for the client to acknowledge its head.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except (OSError, OverflowError) as exc:
        listener.close()
        words = exc.strerror if isinstance(exc, OSError) else "no such port"
        raise ConfigError(f"{host}:{port}: cannot listen there ({words})") from exc
    return listener


def url_of(listener: socket.socket) -> str:
    """Return the address under which a socket is reached."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
