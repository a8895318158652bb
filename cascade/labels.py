"""Labels for a decision log: who was right, joined by id, kept beside the segments and never inside them.

Segments are append-only and written by other processes, so labels are files of their own in the
same folder, ``labels-<time>.jsonl``; a later label of the same answer replaces an earlier one.
"""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from .clock import SystemClock
from .errors import LogError
from .log_lines import numbered_lines
from .ports import Clock

__all__ = ["Label", "Labels", "labels_of", "read_csv", "write_labels"]

LABELS = "labels-"
"""How the names of label files begin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """One verdict.

    Attributes:
        id: Id of the ask, as in the log and in `Result.id`.
        score: Quality in [0, 1]: 1 right, 0 wrong, or a grade.
        model: Whose answer is meant; None: the one that was returned.
    """

    id: str
    score: float
    model: str | None = None


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
    stamp = (clock or SystemClock()).now_iso().replace(":", "").replace("-", "")
    path = folder / f"{LABELS}{stamp}-{os.getpid()}.jsonl"
    part = path.with_suffix(".part")
    count = 0
    try:
        with part.open("wb") as file:
            for label in labels:
                entry = {"schema": 1, "kind": "label", "id": label.id, "score": label.score}
                if label.model is not None:
                    entry["model"] = label.model
                file.write(msgspec.json.encode(entry) + b"\n")
                count += 1
        part.replace(path)
    except OSError as exc:
        raise LogError(f"{folder}: cannot be written ({exc.strerror})") from exc
    finally:
        part.unlink(missing_ok=True)
    return count


def labels_of(path: Path) -> Labels:
    """Return the labels beside a log, the latest of each answer; empty when there are none."""
    folder = path if path.is_dir() else path.parent
    found: dict[tuple[str, str | None], float] = {}
    for file in sorted(folder.glob(f"{LABELS}*.jsonl")):
        for number, line in numbered_lines(file):
            try:
                entry = msgspec.json.decode(line)
                key = (str(entry["id"]), entry.get("model"))
                found[key] = _score(entry["score"], f"{file}:{number}")
            except (msgspec.DecodeError, KeyError, AttributeError) as exc:
                raise LogError(f"{file}:{number}: not a label") from exc
    return found


def _score(given: object, where: str) -> float:
    try:
        score = float(given)  # type: ignore[arg-type]  # what is no number is reported below
    except (TypeError, ValueError):
        score = math.nan
    if not 0.0 <= score <= 1.0:
        raise LogError(f"{where}: score {given!r:.40} given; allowed: a number in [0, 1]")
    return score
