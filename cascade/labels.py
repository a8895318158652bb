"""Labels for a log: who was right, joined by id, kept beside the log's files and never inside them.

Segments are append-only and written by other processes, so labels are files of their own in the
same folder, ``labels-<time>.jsonl``; a later label of the same answer replaces an earlier one.
Those for a traffic log name its file, as ids of two such files in one folder may be the same.
"""

from __future__ import annotations

import contextlib
import csv
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import IO, Any, Self

import msgspec

from .clock import SystemClock
from .errors import LogError
from .log_lines import numbered_lines
from .ports import Clock

__all__ = ["Label", "LabelFile", "Labels", "labels_of", "read_csv", "write_labels"]

LABELS = "labels-"
"""How the names of label files begin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """One verdict.

    Attributes:
        id: Id of the ask, as in the log and in `Result.id`.
        score: Quality in [0, 1]: 1 right, 0 wrong, or a grade.
        model: Whose answer is meant; None: the one that was returned.
        log: File name of the traffic log it is about; None: a decision log.
        by: Who judged, such as ``judge/gpt-4o/1``; None: not said.
    """

    id: str
    score: float
    model: str | None = None
    log: str | None = None
    by: str | None = None


Labels = Mapping[tuple[str, str | None], float]
"""(id of the ask, model or None) → score."""


def read_csv(path: Path) -> Iterator[Label]:
    """Yield the labels of a CSV file with the columns ``id``, ``score`` and, if wanted, ``model``.

    Raises:
        LogError: A column is missing, or a score is not a number in [0, 1]; names file and line.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            missing = {"id", "score"} - set(rows.fieldnames or ())
            if missing:
                raise LogError(
                    f"{path}:1: no column {', '.join(sorted(missing))}; allowed: id, score, model"
                )
            for row in rows:
                yield Label(
                    id=row["id"],
                    score=_score(row["score"], f"{path}:{rows.line_num}"),
                    model=row.get("model") or None,
                )
    except OSError as exc:
        raise LogError(f"{path}: {exc.strerror}") from exc
    except (UnicodeDecodeError, csv.Error) as exc:
        raise LogError(f"{path}: not a CSV file in UTF-8 ({type(exc).__name__})") from exc


def write_labels(folder: Path, labels: Iterable[Label], clock: Clock | None = None) -> int:
    """Write labels beside a log's segments, all of them or none; return how many there were.

    Raises:
        LogError: The folder is not there or cannot be written.
    """
    path = _new_file(folder, clock)
    part = path.with_suffix(".part")
    written = 0
    try:
        with part.open("wb") as file:
            for label in labels:
                file.write(_line(label))
                written += 1
        part.replace(path)
    except OSError as exc:
        raise LogError(f"{folder}: cannot be written ({exc.strerror})") from exc
    finally:
        part.unlink(missing_ok=True)
    return written


class LabelFile:
    """Labels written one at a time, each in the file before the next: for work that may be cut short.

    The file is made with the first label.

    Args:
        folder: Where the log is.
        clock: Names the file.
    """

    def __init__(self, folder: Path, clock: Clock | None = None) -> None:
        self._folder = folder
        self._clock = clock
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, label: Label) -> None:
        """Add one label.

        Raises:
            LogError: It cannot be written; the labels before it stay whole.
        """
        whole = 0
        try:
            if self._file is None:
                self._file = _new_file(self._folder, self._clock).open("ab", buffering=0)
            whole = self._file.tell()
            line = _line(label)
            if self._file.write(line) < len(line):
                raise OSError(0, "the disk is full")
        except OSError as exc:
            if self._file is not None:
                with contextlib.suppress(OSError):
                    self._file.truncate(whole)
            raise LogError(f"{self._folder}: cannot be written ({exc.strerror})") from exc

    def close(self) -> None:
        """Bring everything to the disk. Calling it twice is harmless."""
        file, self._file = self._file, None
        if file is not None:
            with file, contextlib.suppress(OSError):
                os.fsync(file.fileno())


def labels_of(path: Path, *, log: str | None = None) -> Labels:
    """Return the labels beside a log, the latest of each answer; empty when there are none.

    A last line that is cut off is passed over.

    Args:
        path: The log: a file or a folder.
        log: The labels for the traffic log of this file name; None: those for decision logs.

    Raises:
        LogError: A label file holds something else; names file and line.
    """
    folder = path if path.is_dir() else path.parent
    found: dict[tuple[str, str | None], float] = {}
    for file in sorted(folder.glob(f"{LABELS}*.jsonl")):
        for number, line in numbered_lines(file):
            try:
                entry = msgspec.json.decode(line)
                if entry.get("log") != log:
                    continue
                key = (str(entry["id"]), entry.get("model"))
                found[key] = _score(entry["score"], f"{file}:{number}")
            except (msgspec.DecodeError, KeyError, AttributeError) as exc:
                if isinstance(exc, msgspec.DecodeError) and not line.endswith(b"\n"):
                    continue
                raise LogError(f"{file}:{number}: not a label") from exc
    return found


def _new_file(folder: Path, clock: Clock | None) -> Path:
    """Return a name that nobody has; names are in the order of their times."""
    stamp = (clock or SystemClock()).now_iso().replace(":", "").replace("-", "")
    names = (folder / f"{LABELS}{stamp}-{os.getpid()}-{n:04}.jsonl" for n in count())
    return next(path for path in names if not path.exists())


def _line(label: Label) -> bytes:
    entry: dict[str, Any] = {
        "schema": 1,
        "kind": "label",
        "id": label.id,
        "score": label.score,
        "model": label.model,
        "log": label.log,
        "by": label.by,
    }
    return msgspec.json.encode({k: v for k, v in entry.items() if v is not None}) + b"\n"


def _score(given: object, where: str) -> float:
    try:
        score = float(given)  # type: ignore[arg-type]  # what is no number is reported below
    except (TypeError, ValueError):
        score = math.nan
    if not 0.0 <= score <= 1.0:
        raise LogError(f"{where}: score {given!r:.40} given; allowed: a number in [0, 1]")
    return score
