"""Notices what changes while the server runs: ladder files, the file of keys, SIGHUP."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Sequence
from pathlib import Path

import anyio
import anyio.to_thread

from ..errors import ConfigError
from .endpoint import Gate
from .keys import KeyRing, read_keys
from .served import Ladders

__all__ = ["POLL_S", "FileWatch", "Watch"]

POLL_S = 0.5
"""Seconds between two looks at the files."""

_log = logging.getLogger("cascade.server")

_Stamp = tuple[int, int, int] | None


class FileWatch:
    """Tells which files have changed.

    A change counts when the file has been the same twice: an editor may still be writing it.

    Args:
        files: Which.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = tuple(files)
        self._loaded = _stamps(self._files)
        self._seen = dict(self._loaded)

    def changed(self) -> list[Path]:
        """Look at the files; return those that have changed, each change once."""
        now = _stamps(self._files)
        settled = [
            file
            for file in self._files
            if now[file] == self._seen[file] and now[file] != self._loaded[file]
        ]
        self._seen = now
        for file in settled:
            self._loaded[file] = now[file]
        return settled

    def all_loaded(self) -> None:
        """Take the files as they are now for loaded."""
        self._seen = _stamps(self._files)
        self._loaded = dict(self._seen)


class Watch:
    """Reloads ladders and keys when their files change.

    Args:
        ladders: What is served.
        gate: Where the keys are.
        keys: Their file, or None.
    """

    def __init__(self, ladders: Ladders, gate: Gate, keys: Path | None) -> None:
        self._ladders = ladders
        self._gate = gate
        self._keys = keys
        self._watch = FileWatch((*ladders.files, *(() if keys is None else (keys,))))

    async def files(self) -> None:
        """Look at the files for ever."""
        while True:
            await anyio.sleep(POLL_S)
            await self._ladders.close_retired()
            for file in await anyio.to_thread.run_sync(self._watch.changed):
                if file == self._keys:
                    await self.reload_keys()
                else:
                    await self._ladders.reload([file])

    async def hang_ups(self) -> None:
        """Reload everything at each SIGHUP."""
        with anyio.open_signal_receiver(signal.SIGHUP) as received:
            async for _ in received:
                await anyio.to_thread.run_sync(self._watch.all_loaded)
                await self._ladders.reload()
                await self.reload_keys()

    async def reload_keys(self) -> None:
        """Take the keys as they stand in their file now; those before hold on if it is not good."""
        if self._keys is None:
            return
        try:
            keys = await anyio.to_thread.run_sync(read_keys, self._keys)
        except ConfigError as exc:
            self._ladders.refuse({self._keys: (str(exc),)})
            _log.error("reload failed", extra={"fields": {"problem": str(exc)}})
            return
        self._ladders.failures.pop(self._keys, None)
        self._gate.keys = KeyRing(keys)
        _log.info("keys loaded", extra={"fields": {"keys": len(keys)}})


def _stamps(files: Sequence[Path]) -> dict[Path, _Stamp]:
    """Return of each file what changes with it; None for one that is not there."""
    found: dict[Path, _Stamp] = {}
    for file in files:
        try:
            stat = os.stat(file)
        except OSError:
            found[file] = None
        else:
            found[file] = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
    return found
