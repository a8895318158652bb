"""Logs, stages and a model for tests of `cascade probe`: notes, and a question that one of them answers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from cascade.compress.draft import Draft
from cascade.records import Response, TrafficRow
from cascade.types import Answer, ModelCall, Usage
from tests import traffic

__all__ = ["Cut", "Finder", "notes_log", "notes_row", "said"]

NAMES = ("Ada", "Bo", "Cy", "Di", "Ed", "Flo")
FILLER = "The hall was painted last year and the roof is to be mended in spring."


def notes_row(n: int, *, task: str = "", filler: int = 6) -> TrafficRow:
    """Notes with the codes of six lockers among filler, and a question about one."""
    wanted = NAMES[n % len(NAMES)]
    lines = [
        f"The locker of {name} has the code {1000 + 7 * n + i}." for i, name in enumerate(NAMES)
    ]
    for i in range(filler):
        lines.insert(2 * i, FILLER)
    prompt = " ".join(lines) + f"\n\nWhat is the code of the locker of {wanted}?"
    code = str(1000 + 7 * n + NAMES.index(wanted))
    return TrafficRow(
        id=f"n{n}",
        task=task,
        prompt=prompt,
        reference=code,
        responses=[
            Response(model="small", text=f"The code is {code}.", score=1.0, completion_tokens=9),
            Response(model="other", text="I do not know.", score=0.0, completion_tokens=3),
        ],
    )


def notes_log(folder: Path, count: int, *, tasks: Sequence[str] = ("",)) -> Path:
    """A traffic log of such rows."""
    rows = [notes_row(n, task=tasks[n % len(tasks)]) for n in range(count)]
    return traffic.write(folder / "notes.jsonl", rows)


class Cut:
    """A stage that cuts out of prompts whatever matches a pattern."""

    lossy = True

    def __init__(self, name: str, pattern: str, *, lossy: bool = True) -> None:
        self.name = name
        self.lossy = lossy
        self.version = f"{name}/{pattern}"
        self._pattern = re.compile(pattern)

    def apply(self, draft: Draft) -> str:
        """Cut, and say how often."""
        cuts = 0
        for slot in draft.slots:
            slot.text, n = self._pattern.subn("", slot.text)
            cuts += n
        return f"{cuts} cuts" if cuts else ""


def said(prompt: str) -> str:
    """What a model that reads says: the code of the name in the question, if the notes have it."""
    name = prompt.rpartition("locker of ")[2].rstrip("?")
    found = re.search(rf"locker of {name} has the code (\d+)", prompt)
    return f"The code is {found.group(1)}." if found else "I do not know."


class Finder:
    """A client that reads the notes.

    Args:
        fail_from: Calls from this one on fail; None: none do.
        error: With what.
    """

    def __init__(self, fail_from: int | None = None, error: Exception | None = None) -> None:
        self.calls: list[ModelCall] = []
        self._fail_from, self._error = fail_from, error

    async def complete(self, call: ModelCall) -> Answer:
        """Answer, or fail."""
        self.calls.append(call)
        if self._fail_from is not None and len(self.calls) > self._fail_from:
            assert self._error is not None
            raise self._error
        usage = Usage(prompt_tokens=len(call.request.prompt.split()), completion_tokens=5)
        return Answer(text=said(call.request.prompt), model=call.model, usage=usage)

    async def aclose(self) -> None:
        """Nothing is open."""
