"""Logs as traffic rows: traffic logs and decision logs alike, one row at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .errors import LogError
from .labels import LABELS, labels_of
from .log_lines import numbered_lines
from .log_reader import LogReader
from .records import RowReader, TrafficRow, row_from_record, row_problems

__all__ = ["TrafficLog", "is_decision_log", "problem_kind"]

_SUFFIXES = (".jsonl", ".jsonl.gz", ".parquet")


@dataclass(slots=True, kw_only=True)
class TrafficLog:
    """Iterates over the rows of several logs.

    A file that begins with a decision record is read as a decision log; so is a folder of segments.
    Labels beside a log (`cascade.labels`) are joined to it and win over the scores inside.
    Rows whose numbers cannot be true (a score outside [0, 1], a model twice, a positive
    log-probability) are skipped and counted; a line that is no row at all ends the reading, because
    then the file is not what it is taken for.

    Attributes:
        paths: Files, or folders of files.
        rows: Rows yielded so far.
        skipped: Reason → rows skipped so far.
        first_skipped: Reason → ``file:line: what`` of the first one.
        ignored: Field of traffic rows that is not known → rows so far that had it.
    """

    paths: Sequence[Path]
    rows: int = field(default=0, init=False)
    skipped: Counter[str] = field(default_factory=Counter, init=False)
    first_skipped: dict[str, str] = field(default_factory=dict, init=False)
    _reader: RowReader = field(default_factory=RowReader, init=False)

    @property
    def ignored(self) -> Counter[str]:
        return self._reader.ignored

    def files(self) -> list[Path]:
        """Return every file, folders opened.

        Raises:
            LogError: A path does not exist, or a folder holds no log.
        """
        found: list[Path] = []
        for path in self.paths:
            if path.is_dir():
                inside = sorted(
                    p
                    for p in path.iterdir()
                    if p.name.endswith(_SUFFIXES) and not p.name.startswith(LABELS)
                )
                if not inside:
                    raise LogError(f"{path}: no log in it; allowed: {', '.join(_SUFFIXES)}")
                found += inside
            elif path.exists():
                found.append(path)
            else:
                raise LogError(f"{path}: no such log")
        return found

    def __iter__(self) -> Iterator[TrafficRow]:
        """Yield the usable rows.

        Raises:
            LogError: A file cannot be read, or a line in it is not a row; names file and line.
        """
        self.rows = 0
        self.skipped.clear()
        self.first_skipped.clear()
        self._reader.ignored.clear()
        everywhere: set[tuple[str, str, int]] = set()
        for path in self.files():
            seen: set[str] = set()
            source = self._decisions(path) if is_decision_log(path) else self._traffic(path)
            for number, row in source:
                problems = row_problems(row)
                if row.id and row.id in seen:
                    problems.append(f"id {row.id!r} twice")
                # Ids may repeat from file to file, but not with the same prompt: a log named twice.
                elif row.id and (row.id, row.split, hash(row.prompt)) in everywhere:
                    problems.append(f"row {row.id!r} stands in another file too")
                if problems:
                    self._skip(path, number, problems)
                    continue
                if row.id:
                    seen.add(row.id)
                    everywhere.add((row.id, row.split, hash(row.prompt)))
                self.rows += 1
                yield row

    def _decisions(self, path: Path) -> Iterator[tuple[int, TrafficRow]]:
        labels = labels_of(path)
        for number, record in enumerate(LogReader(path=path), start=1):
            yield number, row_from_record(record, labels)

    def _traffic(self, path: Path) -> Iterator[tuple[int, TrafficRow]]:
        labels = labels_of(path, log=path.name)
        for number, line in numbered_lines(path):
            try:
                row = self._reader.read(line)
            except LogError as exc:
                raise LogError(f"{path}:{number}: {exc}") from exc
            if labels:
                for response in row.responses:
                    response.score = labels.get((row.id, response.model), response.score)
            yield number, row

    def _skip(self, path: Path, number: int, problems: list[str]) -> None:
        kind = problem_kind(problems[0])
        self.skipped[kind] += 1
        self.first_skipped.setdefault(kind, f"{path}:{number}: {'; '.join(problems[:3])}")


def is_decision_log(path: Path) -> bool:
    """Return whether a file begins with a decision record.

    Raises:
        LogError: It cannot be read.
    """
    line = next((line for _, line in numbered_lines(path)), b"")
    return b'"kind":"decision"' in line[:200] or b'"kind": "decision"' in line[:200]


def problem_kind(problem: str) -> str:
    """Return the reason without the values in it, so that equal ones are counted together."""
    if problem.startswith("model "):
        return "a model twice in one row"
    if problem.startswith("id "):
        return "an id twice"
    if problem.startswith("row "):
        return "a row that another file holds too"
    if problem.startswith("a log-probability"):
        return "log-probabilities above 0"
    return f"{problem.split(' ', 1)[0]} out of range"
