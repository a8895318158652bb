"""A client process that is there to be killed: it asks and logs without end, and tells how far it is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

import anyio

from cascade import Cascade
from cascade.sinks import JsonlSink

from .harness import crowd
from .upstreams import ROOT

__all__ = ["FIRST_ASK", "Victim"]

FIRST_ASK = 1_000_000
"""Number of the first ask of the first victim; each victim has as many."""

_IN_FLIGHT = 50
_TOLD_EVERY_S = 0.003
_STDOUT = 1


class Victim:
    """A running victim, seen from the one who kills it.

    Args:
        file: Its ladder; its log goes beside it.
        number: Tells its asks from those of other victims.
    """

    def __init__(self, file: Path, number: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.victim", str(file), str(number)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        self._ids: list[str] = json.loads(self._process.stdout.readline())["ids"]

    def kill(self) -> tuple[list[str], list[str]]:
        """Kill it; return the ids of what it had flushed for certain, and of all it had logged."""
        assert self._process.stdout is not None
        self._process.send_signal(signal.SIGKILL)
        flushed = 0
        ids = self._ids
        for line in self._process.stdout:
            if line.endswith(b"\n"):  # the last may be cut
                told = json.loads(line)
                ids += told["ids"]
                flushed = told["written"]
        self._process.wait()
        self._process.stdout.close()
        return ids[:flushed], ids


class _Ids:
    """Notes the ids of the records in the order in which the sink takes them."""

    def __init__(self) -> None:
        self.untold: list[str] = []

    def on_record(self, record: Mapping[str, Any]) -> None:
        self.untold.append(record["id"])


async def _live(file: Path, number: int) -> None:
    ids = _Ids()
    sink = JsonlSink(file.parent / "log", flush_s=0.02, flush_records=32)

    async def tell() -> None:
        while True:
            # What is written is read first, so that every id of it has been noted.
            written = sink.statistics().written
            untold, ids.untold = ids.untold, []
            told = json.dumps({"written": written, "ids": untold}).encode() + b"\n"
            os.write(_STDOUT, told)
            await anyio.sleep(_TOLD_EVERY_S)

    engine = Cascade.from_yaml(file, sink=sink, observers=[ids])
    async with engine as ladder, anyio.create_task_group() as tasks:
        tasks.start_soon(tell)
        await crowd(ladder, count((1 + number) * FIRST_ASK), _IN_FLIGHT)


if __name__ == "__main__":
    anyio.run(_live, Path(sys.argv[1]), int(sys.argv[2]))
