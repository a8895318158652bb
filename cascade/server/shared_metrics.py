"""Where several workers add up their metrics: a folder of files, as prometheus_client keeps them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["SharedMetrics", "shared_metrics"]

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""By this prometheus_client knows, in a process that imports it, that there are others."""


class SharedMetrics:
    """The folder. What a worker has counted stays in it when the worker has gone.

    Args:
        folder: Its path.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def forget(self, pid: int) -> None:
        """Drop what was true of a process only while it lived."""
        for file in self._folder.glob(f"gauge_live*_{pid}.db"):
            file.unlink(missing_ok=True)


@contextmanager
def shared_metrics() -> Iterator[SharedMetrics]:
    """Yield the folder, for the processes that are started meanwhile: the one the environment names, or a new one."""
    environment = os.environ  # noqa: TID251 - the workers' prometheus_client reads it, and nothing else
    named = environment.get(VARIABLE)
    if named:
        yield SharedMetrics(Path(named))
        return
    with tempfile.TemporaryDirectory(prefix="cascade-metrics-", ignore_cleanup_errors=True) as made:
        environment[VARIABLE] = made
        try:
            yield SharedMetrics(Path(made))
        finally:
            del environment[VARIABLE]
