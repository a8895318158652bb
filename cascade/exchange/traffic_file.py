"""A traffic log written whole or not at all, from rows that are checked one by one as they come."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import msgspec

from ..errors import ConfigError, LogError
from ..records import Response, TrafficRow, row_problems
from ..traffic_log import problem_kind
from .skips import Skips

__all__ = ["PlacedRows", "Written", "encode_row", "named", "output_problem", "write_traffic"]

PlacedRows = Iterable[tuple[str, TrafficRow]]
"""(``file:line`` it came from, row)."""

_SUFFIXES = (".jsonl", ".jsonl.gz")
_ALWAYS = ("model", "text", "score")


@dataclass(slots=True, kw_only=True)
class Written:
    """What is in the file.

    Attributes:
        rows: Requests.
        answers: Model → answers.
        scored: Model → answers with a score.
        splits: Split → rows; "" for rows without one.
    """

    rows: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    scored: Counter[str] = field(default_factory=Counter)
    splits: Counter[str] = field(default_factory=Counter)

    def count(self, row: TrafficRow) -> None:
        """Count one row."""
        self.rows += 1
        self.splits[row.split] += 1
        for response in row.responses:
            self.answers[response.model] += 1
            self.scored[response.model] += response.score is not None


def output_problem(output: Path, inputs: Iterable[Path]) -> str | None:
    """Return why a traffic log cannot be written there, or None; asked before anything is read."""
    if not output.name.endswith(_SUFFIXES):
        return f"{output}: allowed: a name that ends with {' or '.join(_SUFFIXES)}"
    if output.is_dir():
        return f"{output}: is a folder"
    if not output.parent.is_dir():
        return f"{output}: no folder {output.parent}"
    if any(_same(output, path) for path in inputs):
        return f"{output}: is one of the files that are read"
    return None


def named(rows: PlacedRows) -> Iterator[tuple[str, TrafficRow]]:
    """Yield rows that all have an id, and each its own.

    A row without one is known by the digest of its prompt and chat; of rows that share an id, the
    later ones get ``-2``, ``-3``, …. Memory: the ids alone.
    """
    met: Counter[str] = Counter()
    for place, row in rows:
        wanted = row.id or _digest(row)
        met[wanted] += 1
        own = wanted
        while met[wanted] > 1 and met[own := f"{wanted}-{met[wanted]}"]:
            met[wanted] += 1  # somebody else's own id looks like one of ours
        if own != wanted:
            met[own] += 1
        row.id = own
        yield place, row


def write_traffic(
    path: Path, rows: PlacedRows, skips: Skips, *, test_share: float | None = None
) -> Written:
    """Write rows as a traffic log, gzipped when its name ends with ``.gz``, whole or not at all.

    Rows whose numbers cannot be true are skipped and counted, as `TrafficLog` would skip them. When
    nothing is left, no file is written.

    Args:
        path: The file; an older one of that name is replaced when everything is written.
        rows: What to write; ids are unique.
        skips: Told of the rows that are skipped.
        test_share: Share in [0, 1] of the rows without a split that become ``test``, the others
            ``train``, by a digest of the prompt: equal prompts fall on one side. None: none do.

    Raises:
        LogError: The file cannot be written.
        ConfigError: `test_share` is out of its range.
    """
    if test_share is not None and not 0.0 <= test_share <= 1.0:
        raise ConfigError(f"test share {test_share!r} given; allowed: a number in [0, 1]")
    part = path.with_name(path.name + ".part")
    written = Written()
    try:
        with _opened(part, packed=path.name.endswith(".gz")) as file:
            for place, row in rows:
                problems = row_problems(row)
                if problems:
                    skips.add(problem_kind(problems[0]), place, "; ".join(problems[:3]))
                    continue
                if test_share is not None and not row.split:
                    row.split = "test" if _position(row.prompt) < test_share else "train"
                file.write(encode_row(row) + b"\n")
                written.count(row)
        if written.rows:
            part.replace(path)
    except OSError as exc:
        raise LogError(f"{path}: cannot be written ({exc.strerror or type(exc).__name__})") from exc
    finally:
        part.unlink(missing_ok=True)
    return written


def encode_row(row: TrafficRow) -> bytes:
    """Return a row as one line of JSON without what is unknown or empty.

    >>> encode_row(TrafficRow(id="a", prompt="hi", responses=[Response(model="m")]))
    b'{"id":"a","prompt":"hi","responses":[{"model":"m","text":null,"score":null}]}'
    """
    fields: dict[str, Any] = {"id": row.id}
    for name in ("task", "split"):
        if value := getattr(row, name):
            fields[name] = value
    fields["prompt"] = row.prompt
    for name in ("messages", "reference"):
        if (value := getattr(row, name)) is not None:
            fields[name] = value
    fields["responses"] = [_known(response) for response in row.responses]
    return msgspec.json.encode(fields)


def _known(response: Response) -> dict[str, Any]:
    fields = msgspec.structs.asdict(response)
    return {k: v for k, v in fields.items() if v is not None or k in _ALWAYS}


@contextlib.contextmanager
def _opened(path: Path, *, packed: bool) -> Iterator[IO[bytes] | gzip.GzipFile]:
    with path.open("wb") as file:
        if not packed:
            yield file
            return
        # Neither name nor time in it: the same rows make the same bytes.
        with gzip.GzipFile("", "wb", compresslevel=6, fileobj=file, mtime=0) as packer:
            yield packer


def _digest(row: TrafficRow) -> str:
    content = msgspec.json.encode([row.prompt, row.messages], order="deterministic")
    return hashlib.sha256(content).hexdigest()[:16]


def _position(prompt: str) -> float:
    """Return where a prompt falls in [0, 1), always the same."""
    digest = hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:6], "big") / 2.0**48


def _same(output: Path, path: Path) -> bool:
    with contextlib.suppress(OSError):
        return output.exists() and output.samefile(path)
    return False
