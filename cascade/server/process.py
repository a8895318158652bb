"""One process that serves: uvicorn on a listening socket, and what runs beside it."""

from __future__ import annotations

import gc
import importlib.util
import logging
import math
import signal
import socket
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import anyio
import uvicorn

from ..clock import SystemClock
from ..engine import CLOSING_S
from .app import make_app
from .bodies import BodyLimits
from .endpoint import Gate
from .keys import KeyRing, read_keys
from .protocol import HeadLimits, guarded
from .served import Ladders
from .settings import ServeSettings

__all__ = ["loop_options", "make_gate", "serve_on"]

KEEP_ALIVE_S = 75
"""Seconds an idle connection is kept: longer than the pools of SDKs and load balancers keep theirs."""

_log = logging.getLogger("cascade.server")


def loop_options() -> dict[str, Any]:
    """Return the options of the event loop: uvloop, if it is there."""
    return {"use_uvloop": importlib.util.find_spec("uvloop") is not None}


def make_gate(settings: ServeSettings, keys: bytes | None = None) -> Gate:
    """Return the keys and bounds that all paths have in common.

    Args:
        settings: What the server is told.
        keys: What the file of keys held when it was read; None: it is read now.

    Raises:
        ConfigError: The file of keys is not good.
    """
    known = None if settings.keys is None else KeyRing(read_keys(settings.keys, keys))
    limits = BodyLimits(round(settings.max_body_mb * 1_000_000), settings.body_timeout_s)
    return Gate(known, limits, SystemClock(), log_requests=settings.log_requests)


async def serve_on(
    listener: socket.socket,
    ladders: Ladders,
    gate: Gate,
    settings: ServeSettings,
    *,
    told: Sequence[int],
    beside: tuple[Callable[[], Coroutine[Any, Any, None]], ...],
    stops_at: tuple[signal.Signals, ...] = (signal.SIGTERM, signal.SIGINT),
) -> None:
    """Serve open ladders until a signal comes; close them at the end.

    Args:
        listener: Where connections come in.
        ladders: What is served.
        gate: Keys and bounds.
        settings: What the server is told.
        told: Signals to end that have come before, as `stopping.noting` notes them.
        beside: Run as long as the server does.
        stops_at: Signals that end it.
    """
    try:
        server = _Server(
            uvicorn.Config(
                make_app(
                    ladders,
                    gate,
                    rungs=settings.rungs,
                    check_providers=settings.check_providers,
                ),
                http=guarded(HeadLimits(timeout_s=settings.head_timeout_s), gate.traffic),
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
            stops_at,
            told,
        )
        gc.collect()
        gc.freeze()  # what is loaded by now stays: looking through it again costs every request
        async with anyio.create_task_group() as tasks:
            for task in beside:
                tasks.start_soon(task)
            # uvicorn raises the signal again when it is done: it is noted then, and kills nobody.
            await server.serve(sockets=[listener])
            tasks.cancel_scope.cancel()
    finally:
        if not ladders.closing:
            await ladders.aclose(0.0)


class _Server(uvicorn.Server):
    """uvicorn's server, whose end is that of the ladders: asks have their grace time, then are cut."""

    def __init__(
        self,
        config: uvicorn.Config,
        ladders: Ladders,
        grace_s: float | None,
        stops_at: tuple[signal.Signals, ...],
        told: Sequence[int],
    ) -> None:
        super().__init__(config)
        self._ladders = ladders
        self._grace_s = grace_s
        self._stops_at = stops_at
        self._told = told
        self._told_early = False
        self._begun = False

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Begin the end; while uvicorn begins, which may then forget to drain, a little later."""
        if sig not in self._stops_at:
            return
        if self._begun:
            super().handle_exit(sig, frame)
        else:
            self._told_early = True

    async def main_loop(self) -> None:
        """Serve, until the end: at once, if that was wanted before there was this loop."""
        self._begun = True
        self.should_exit = self.should_exit or bool(self._told) or self._told_early
        await super().main_loop()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no connections any more, and let what is under way come to its end."""
        grace_s = self._ladders.longest_grace_s() if self._grace_s is None else self._grace_s
        _log.info("closing", extra={"fields": {"grace_s": grace_s}})
        # Cut asks still have to tell their callers.
        self.config.timeout_graceful_shutdown = math.ceil(grace_s + CLOSING_S)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._ladders.aclose, self._grace_s)
            await super().shutdown(sockets)
