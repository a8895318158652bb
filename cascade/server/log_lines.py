"""The server's log: one JSON object a line, on standard error."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from typing import Any

import msgspec

from ..clock import SystemClock
from ..ports import Clock

__all__ = ["JsonLines", "log_to_stderr"]

_LOGGERS = ("asyncio", "cascade", "uvicorn")


class JsonLines(logging.Formatter):
    """Formats a record as JSON: `time`, `level`, `event`, and what the record holds as `fields`.

    Args:
        clock: Time source.
        always: What every line says beside its own: which worker it is of.
    """

    def __init__(self, clock: Clock | None = None, always: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self._clock = clock or SystemClock()
        self._always = dict(always or {})

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, Any] = {
            "time": self._clock.now_iso(),
            "level": record.levelname.lower(),
            "event": record.getMessage().partition("\n")[0],  # below, asyncio quotes exceptions
        }
        if record.name != "cascade.server":
            line["logger"] = record.name
        line.update(self._always)
        line.update(getattr(record, "fields", ()))
        if record.exc_info is not None and record.exc_info[0] is not None:
            line["raised"] = record.exc_info[0].__name__  # its words may quote a prompt
        return msgspec.json.encode(line, enc_hook=str).decode()


def log_to_stderr(level: str, always: Mapping[str, Any] | None = None) -> None:
    """Let everything the server and its libraries say from `level` on go to standard error.

    Args:
        level: A level's name.
        always: What every line says beside its own.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(always=always))
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
        logger.setLevel(level.upper())
    for name in ("asyncio", "uvicorn"):
        logging.getLogger(name).setLevel(logging.WARNING)
