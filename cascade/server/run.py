"""Runs the server: listens, serves, reloads, and drains when it is told to stop."""

from __future__ import annotations

import gc
import importlib.util
import logging
import math
import signal
import socket
from dataclasses import dataclass
from pathlib import Path

import anyio
import uvicorn

from ..clock import SystemClock
from ..engine import CLOSING_S
from ..errors import ConfigError
from .app import make_app
from .bodies import BodyLimits
from .callers import is_loopback
from .endpoint import Gate
from .keys import KeyRing, read_keys
from .log_lines import log_to_stderr
from .protocol import HeadLimits, guarded
from .served import Ladders
from .watching import Watch

__all__ = ["ServeSettings", "serve"]

KEEP_ALIVE_S = 75
"""Seconds an idle connection is kept: longer than the pools of SDKs and load balancers keep theirs."""

_BACKLOG = 2048

_log = logging.getLogger("cascade.server")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeSettings:
    """What to serve, to whom, and within which bounds.

    Attributes:
        files: Ladder files; the first is the default.
        host: Name or address to listen at.
        port: Port to listen at; 0: any that is free.
        keys: File of keys; None: no keys are needed, which is for this machine alone.
        rungs: Whether single rungs may be asked by their model's name.
        grace_s: Seconds that asks in flight have at the end; None: as each ladder file says.
        max_body_mb: Most megabytes of a body.
        body_timeout_s: Seconds a client may take to send a body.
        head_timeout_s: Seconds a client may take to send a head.
        log_level: From which level on things are said.
        log_requests: Whether each request gets a line in the log.
    """

    files: tuple[Path, ...]
    host: str = "127.0.0.1"
    port: int = 8000
    keys: Path | None = None
    rungs: bool = False
    grace_s: float | None = None
    max_body_mb: float = 32.0
    body_timeout_s: float = 60.0
    head_timeout_s: float = 10.0
    log_level: str = "info"
    log_requests: bool = True


def serve(settings: ServeSettings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        ConfigError: A ladder or the file of keys has mistakes, the address cannot be listened at, or
            it is not of this machine alone and there are no keys.
    """
    if settings.keys is None and not is_loopback(settings.host):
        raise ConfigError(
            f"--host: {settings.host} can be reached from elsewhere; give --keys, or listen at 127.0.0.1"
        )
    log_to_stderr(settings.log_level)
    uvloop = importlib.util.find_spec("uvloop") is not None
    anyio.run(_serve, settings, backend_options={"use_uvloop": uvloop})


async def _serve(settings: ServeSettings) -> None:
    keys = None if settings.keys is None else KeyRing(read_keys(settings.keys))
    limits = BodyLimits(round(settings.max_body_mb * 1_000_000), settings.body_timeout_s)
    gate = Gate(keys, limits, SystemClock(), log_requests=settings.log_requests)
    ladders = Ladders(settings.files)
    watch = Watch(ladders, gate, settings.keys)  # before loading: a change meanwhile is noticed
    with _listening(settings.host, settings.port) as listener:
        await ladders.open()
        try:
            server = _Server(
                uvicorn.Config(
                    make_app(ladders, gate, rungs=settings.rungs),
                    http=guarded(HeadLimits(timeout_s=settings.head_timeout_s)),
                    ws="none",
                    lifespan="off",
                    log_config=None,
                    access_log=False,
                    server_header=False,
                    proxy_headers=False,
                    timeout_keep_alive=KEEP_ALIVE_S,
                ),
                ladders,
                settings.grace_s,
            )
            host, port = listener.getsockname()[:2]
            url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
            gc.collect()
            gc.freeze()  # what is loaded by now stays: looking through it again costs every request
            names = [served.name for served in ladders.all()]
            _log.info("listening", extra={"fields": {"url": url, "ladders": names}})
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(watch.files)
                tasks.start_soon(watch.hang_ups)
                # uvicorn raises the signal again when it is done, which would be exit code 143.
                signal.signal(signal.SIGTERM, lambda *_: None)
                await server.serve(sockets=[listener])
                tasks.cancel_scope.cancel()
        finally:
            if not ladders.closing:
                await ladders.aclose(0.0)
    _log.info("closed")


class _Server(uvicorn.Server):
    """uvicorn's server, whose end is that of the ladders: asks have their grace time, then are cut."""

    def __init__(self, config: uvicorn.Config, ladders: Ladders, grace_s: float | None) -> None:
        super().__init__(config)
        self._ladders = ladders
        self._grace_s = grace_s

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no connections any more, and let what is under way come to its end."""
        grace_s = self._ladders.longest_grace_s() if self._grace_s is None else self._grace_s
        _log.info("closing", extra={"fields": {"grace_s": grace_s}})
        # Cut asks still have to tell their callers.
        self.config.timeout_graceful_shutdown = math.ceil(grace_s + CLOSING_S)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._ladders.aclose, self._grace_s)
            await super().shutdown(sockets)


def _listening(host: str, port: int) -> socket.socket:
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
