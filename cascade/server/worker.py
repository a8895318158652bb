"""One of several processes that serve at one socket, as its supervisor tells it."""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import Sequence
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from ..errors import ConfigError
from .endpoint import Gate
from .keys import KeyRing, read_keys
from .log_lines import log_to_stderr
from .orders import Load, Loaded, Ready, Refuse, Take
from .process import loop_options, make_gate, serve_on
from .served import CannotLoad, Ladders, Made
from .settings import ServeSettings
from .stopping import noting
from .watching import POLL_S

__all__ = ["work"]

PUBLISH_S = 1.0
"""Seconds between two writings of what the engines of a worker are doing."""

_log = logging.getLogger("cascade.server")


def work(
    number: int, settings: ServeSettings, listener: socket.socket, line: Connection, first: Load
) -> None:
    """Serve until SIGTERM, or until the supervisor is gone.

    Args:
        number: Which worker this is, from 1.
        settings: What the server is told.
        listener: Where connections come in; the other workers have it too.
        line: To the supervisor.
        first: What to serve to begin with.
    """
    log_to_stderr(settings.log_level, {"worker": number})
    for not_ours in (signal.SIGINT, signal.SIGHUP):  # a terminal sends them to all: one decides
        signal.signal(not_ours, signal.SIG_IGN)
    with listener, line, noting(signal.SIGTERM) as told:
        anyio.run(_work, settings, listener, line, first, told, backend_options=loop_options())


async def _work(
    settings: ServeSettings,
    listener: socket.socket,
    line: Connection,
    first: Load,
    told: Sequence[int],
) -> None:
    ladders = Ladders(settings.files, workers=settings.workers)
    try:
        gate = make_gate(settings, first.keys)
        await ladders.open(first.ladders)
    except ConfigError as exc:
        file = exc.file if isinstance(exc, CannotLoad) else settings.keys or settings.files[0]
        why = exc.told if isinstance(exc, CannotLoad) else (str(exc),)
        line.send(Loaded(turn=first.turn, failures={file: why}))
        return
    ladders.refuse(first.failures)
    orders = _Orders(line, ladders, gate, settings.keys)
    names = tuple(served.name for served in ladders.all())
    try:
        line.send(Ready(ladders=names, grace_s=ladders.longest_grace_s()))
    except OSError:
        _log.error("the supervisor is gone")
        await ladders.aclose(0.0)
        return
    _log.info("serving", extra={"fields": {"pid": os.getpid(), "ladders": list(names)}})
    await serve_on(
        listener,
        ladders,
        gate,
        settings,
        told=told,
        beside=(orders.follow, orders.close_retired, partial(_publish, ladders, gate)),
        stops_at=(signal.SIGTERM,),
    )


async def _publish(ladders: Ladders, gate: Gate) -> None:
    """Write every second what this worker is doing where whichever worker is asked can read it."""
    while True:
        if any(served.counts for served in ladders.all()):
            from ..telemetry.prometheus import publish_live
            from ..telemetry.prometheus_http import http_meters

            publish_live()
            http_meters().publish(gate.traffic.take(), gate.traffic.in_flight)
        await anyio.sleep(PUBLISH_S)


class _Orders:
    """Does what the supervisor says: load, then take or drop."""

    def __init__(
        self, line: Connection, ladders: Ladders, gate: Gate, keys_file: Path | None
    ) -> None:
        self._line = line
        self._ladders = ladders
        self._gate = gate
        self._keys_file = keys_file
        self._made: Made = {}
        self._keys: KeyRing | None = None

    async def follow(self) -> None:
        """Do what comes down the line; end the process when nothing can come any more."""
        while True:
            await anyio.wait_readable(self._line.fileno())
            try:
                order: Any = self._line.recv()
                if isinstance(order, Load):
                    self._line.send(await self._load(order))
            except (EOFError, OSError):
                _log.error("the supervisor is gone")
                signal.raise_signal(signal.SIGTERM)
                return
            if isinstance(order, Take):
                self._take()
            elif isinstance(order, Refuse):
                await self._drop()
                self._ladders.refuse(order.failures)

    async def close_retired(self) -> None:
        """Close replaced ladders that nobody uses any more, for ever."""
        while True:
            await anyio.sleep(POLL_S)
            await self._ladders.close_retired()

    async def _load(self, order: Load) -> Loaded:
        await self._drop()
        try:
            if order.keys is not None:
                assert self._keys_file is not None
                self._keys = KeyRing(read_keys(self._keys_file, order.keys))
            self._made = await self._ladders.make(tuple(order.ladders), order.ladders)
        except CannotLoad as exc:
            return Loaded(turn=order.turn, failures={exc.file: exc.told})
        except ConfigError as exc:
            assert self._keys_file is not None
            return Loaded(turn=order.turn, failures={self._keys_file: (str(exc),)})
        names = tuple(served.name for served in self._made.values())
        return Loaded(turn=order.turn, ladders=names)

    def _take(self) -> None:
        """Serve what was loaded. Nothing awaits: no request sees half of it."""
        if self._keys is not None and self._keys_file is not None:
            self._gate.keys = self._keys
            self._ladders.failures.pop(self._keys_file, None)
        self._ladders.take(self._made)
        self._made, self._keys = {}, None

    async def _drop(self) -> None:
        made, self._made, self._keys = self._made, {}, None
        await self._ladders.drop(made)
