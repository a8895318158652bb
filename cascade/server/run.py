"""Runs the server: listens, serves, reloads, and drains when it is told to stop."""

from __future__ import annotations

import logging
import signal
from collections.abc import Sequence

import anyio

from ..errors import ConfigError
from .callers import is_loopback
from .listening import listen, url_of
from .log_lines import log_to_stderr
from .process import loop_options, make_gate, serve_on
from .served import Ladders
from .settings import ServeSettings
from .shared_metrics import shared_metrics
from .stopping import noting
from .supervisor import Supervisor
from .watching import Watch

__all__ = ["ServeSettings", "serve"]

_log = logging.getLogger("cascade.server")


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
    if settings.workers > 1:
        with shared_metrics() as metrics:
            Supervisor(settings, metrics).run()
    else:
        with noting(signal.SIGTERM) as told:
            anyio.run(_serve_alone, settings, told, backend_options=loop_options())
    _log.info("closed")


async def _serve_alone(settings: ServeSettings, told: Sequence[int]) -> None:
    gate = make_gate(settings)
    ladders = Ladders(settings.files)
    watch = Watch(ladders, gate, settings.keys)  # before loading: a change meanwhile is noticed
    with listen(settings.host, settings.port) as listener:
        await ladders.open()
        names = [served.name for served in ladders.all()]
        _log.info("listening", extra={"fields": {"url": url_of(listener), "ladders": names}})
        beside = (watch.files, watch.hang_ups)
        await serve_on(listener, ladders, gate, settings, told=told, beside=beside)
