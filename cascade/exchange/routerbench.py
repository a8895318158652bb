"""RouterBench-style tables as traffic rows: one row a prompt, one column a model with its score.

The columns are those of RouterBench's own files (Hu et al. 2024, arXiv:2403.12031): `sample_id`,
`prompt`, `eval_name`, and of each model its score under its name, `<model>|model_response` and
`<model>|total_cost`.
"""

from __future__ import annotations

import ast
import csv
import gzip
import json
import math
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import msgspec

from ..errors import LogError
from ..log_lines import numbered_lines
from ..records import Response, TrafficRow
from .skips import Skips, Unusable

__all__ = ["COLUMNS", "Layout", "read_routerbench"]

COLUMNS = (
    "prompt, one column a model with its score in [0, 1], and if known sample_id, eval_name, split, "
    "reference, <model>|model_response, <model>|total_cost; as CSV, JSON lines or Parquet"
)

_ANSWER, _COST = "|model_response", "|total_cost"
_ABOUT = ("sample_id", "prompt", "eval_name", "split", "reference")
_NOT_USED = ("oracle_model_to_route_to", "idx", "Unnamed: 0", "")
_FIELD_CHARS = 2**31 - 1  # csv's own limit is 128 KiB, less than a long prompt

_Cells = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How a table is to be read; it is told from the header and the first row.

    Attributes:
        models: Columns that hold scores.
        passed_over: Columns that are not used.
        listed: Whether texts are Python lists written as text (``['…', '…']``), as in RouterBench.
    """

    models: tuple[str, ...]
    passed_over: tuple[str, ...]
    listed: bool

    @classmethod
    def of(cls, path: Path, first: _Cells, wanted: Sequence[str] | None) -> Layout:
        """Return the layout of a table.

        A column is a model's when there is a column of its answers or costs; where no column has
        these, when its name is none of ours and its first cell a number or empty.

        Raises:
            LogError: No prompt, no model, or a wanted model is not there; names what is.
        """
        has = ", ".join(name for name in first if name)
        if "prompt" not in first:
            raise LogError(f"{path}:1: no column prompt; it has {has}; allowed: {COLUMNS}")
        plain = [n for n in first if "|" not in n and n not in _ABOUT and n not in _NOT_USED]
        if wanted is not None:
            missing = [name for name in wanted if name not in plain]
            if missing:
                raise LogError(f"{path}:1: no column {', '.join(missing)}; it has {has}")
            models = list(wanted)
        else:
            known = {n.removesuffix(_ANSWER).removesuffix(_COST) for n in first if "|" in n}
            models = [n for n in plain if n in known] or [n for n in plain if _is_score(first[n])]
        if not models:
            raise LogError(f"{path}:1: no column of a model's scores; it has {has}; {_HINT}")
        used = {*_ABOUT, *_NOT_USED, *(m + end for m in models for end in ("", _ANSWER, _COST))}
        return cls(
            models=tuple(models),
            passed_over=tuple(name for name in first if name not in used),
            listed=isinstance(first["prompt"], str) and _listed(first["prompt"]) is not None,
        )


_HINT = f"name them with --models; allowed: {COLUMNS}"


def read_routerbench(
    paths: Sequence[Path],
    skips: Skips,
    *,
    models: Sequence[str] | None = None,
    layouts: list[Layout] | None = None,
) -> Iterator[tuple[str, TrafficRow]]:
    """Yield (``file:line``, row) of every usable row of the tables; memory: one row, and the ids.

    An empty cell or NaN is an unknown score, cost or answer; a model without score and answer has
    none in the row. RouterBench writes texts as Python lists: their parts are joined by a blank
    line. Rows with cells that are no numbers or an id twice are counted in `skips`; scores outside
    [0, 1] are for `write_traffic` to skip.

    Args:
        paths: Tables, read one after the other.
        skips: Told of the rows that are skipped.
        models: The columns that hold scores; None: told from the names (`Layout.of`).
        layouts: Gets the layout of each table.

    Raises:
        LogError: A file cannot be read or is no such table; names file and line.
    """
    seen: set[str] = set()
    for path in paths:
        layout = None
        for number, cells in _rows(path, skips):
            place = f"{path}:{number}"
            if layout is None:
                layout = Layout.of(path, cells, models)
                if layouts is not None:
                    layouts.append(layout)
            try:
                row = _row(cells, layout)
            except Unusable as exc:
                skips.add_line(exc, place)
                continue
            if row.id and row.id in seen:
                skips.add("an id twice", place)
                continue
            if row.id:
                seen.add(row.id)
            yield place, row
        if layout is None:
            skips.add("a table without rows", str(path))


def _row(cells: _Cells, layout: Layout) -> TrafficRow:
    """Return a row of the table.

    Raises:
        Unusable: It cannot be used.
    """
    prompt = _text(cells.get("prompt"), layout)
    if not prompt:
        raise Unusable("a row without a prompt")
    responses = []
    for model in layout.models:
        score = _number(cells.get(model), model)
        text = _text(cells.get(model + _ANSWER), layout)
        cost = _number(cells.get(model + _COST), model + _COST)
        if score is not None or text is not None:
            responses.append(Response(model=model, text=text, score=score, cost_usd=cost))
    if not responses:
        raise Unusable("a row without any score or answer")
    reference = cells.get("reference")
    return TrafficRow(
        id=_name(cells.get("sample_id")),
        task=_name(cells.get("eval_name")),
        split=_name(cells.get("split")),
        reference=None if _is_unknown(reference) else reference,
        prompt=prompt,
        responses=responses,
    )


def _name(cell: Any) -> str:
    return "" if _is_unknown(cell) else str(cell)


def _is_unknown(cell: Any) -> bool:
    return cell is None or cell == "" or (isinstance(cell, float) and math.isnan(cell))


def _text(cell: Any, layout: Layout) -> str | None:
    if _is_unknown(cell):
        return None
    if isinstance(cell, list):
        return "\n\n".join(str(part) for part in cell)
    if not isinstance(cell, str):
        raise Unusable("a prompt or answer that is no text", type(cell).__name__)
    parts = _listed(cell) if layout.listed else None
    return cell if parts is None else "\n\n".join(parts)


def _listed(cell: str) -> list[str] | None:
    """Return the texts of a Python list that was written as text, or None when it is none."""
    if not (cell.startswith("[") and cell.endswith("]")):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a backslash that only looks like an escape
            found = ast.literal_eval(cell)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None
    if not (found and isinstance(found, list) and all(isinstance(part, str) for part in found)):
        return None
    return [_valid(part) for part in found]


def _valid(value: Any) -> Any:
    """Return decoded JSON with ``?`` in place of every half character, which no file could hold."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [_valid(item) for item in value]
    if isinstance(value, dict):
        return {_valid(key): _valid(item) for key, item in value.items()}
    return value


def _number(cell: Any, column: str) -> float | None:
    """Return the number in a cell, or None when it is empty or NaN."""
    if _is_unknown(cell):
        return None
    if isinstance(cell, str):
        cell = {"true": 1.0, "false": 0.0}.get(cell.strip().lower(), cell)
    try:
        number = float(cell)
    except (TypeError, ValueError, OverflowError):
        raise Unusable(f"{_what(column)} is not a number", f"{column}: {cell!r:.20}") from None
    return None if math.isnan(number) else number


def _what(column: str) -> str:
    return "a cost" if column.endswith(_COST) else "a score"


def _is_score(cell: Any) -> bool:
    try:
        _number(cell, "")
    except Unusable:
        return False
    return True


def _rows(path: Path, skips: Skips) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line, cells by column) of a table, whatever kind of file it is."""
    start = _start(path)
    if start.startswith(b"\x80"):
        raise LogError(
            f"{path}: a pickle, which is not opened as it may run code; where you trust it, convert "
            "it: python -c \"import pandas; pandas.read_pickle('in.pkl').to_parquet('out.parquet')\""
        )
    if start.startswith((b"PAR1", b"{")):
        yield from _json_rows(path)
    elif start.startswith(b"["):
        raise LogError(f"{path}:1: a JSON array; allowed: {COLUMNS}")
    elif start:
        yield from _csv_rows(path, skips)


def _start(path: Path) -> bytes:
    """Return the first bytes of the content, unpacked, without byte-order mark and white space."""
    try:
        with path.open("rb") as file:
            start = file.read(64)
            if start.startswith(b"\x1f\x8b"):
                file.seek(0)
                with gzip.open(file) as unpacked:
                    start = unpacked.read(64)
    except (EOFError, gzip.BadGzipFile, zlib.error) as exc:
        raise LogError(f"{path}:1: gzip data is cut short or damaged") from exc
    except OSError as exc:
        raise LogError(f"{path}: {exc.strerror or type(exc).__name__}") from exc
    return start.removeprefix(b"\xef\xbb\xbf").lstrip()


def _json_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    decode = msgspec.json.Decoder(dict[str, Any]).decode
    for number, line in numbered_lines(path):
        try:
            yield number, decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            try:
                found = _valid(json.loads(line))  # pandas and Python write NaN and half characters
            except (ValueError, RecursionError):
                found = None
            if not isinstance(found, dict):
                why = "nested too deep" if isinstance(exc, RecursionError) else str(exc)
                raise LogError(f"{path}:{number}: not a row of a table ({why})") from exc
            yield number, found


def _csv_rows(path: Path, skips: Skips) -> Iterator[tuple[int, dict[str, Any]]]:
    before = csv.field_size_limit(_FIELD_CHARS)
    number = 0  # the last line that was read whole
    try:
        with _opened(path) as file:
            rows = csv.DictReader(file)
            names = list(rows.fieldnames or ())
            twice = sorted({name for name in names if name and names.count(name) > 1})
            if twice:
                raise LogError(f"{path}:1: column {', '.join(twice)} twice")
            number = rows.line_num
            for row in rows:
                begun, number = number + 1, rows.line_num
                # A row that is cut off lacks its last cells: they must not look like unknown scores.
                if None in row or None in row.values():
                    skips.add("a row of more or fewer cells than the header", f"{path}:{begun}")
                    continue
                yield begun, row
    except (EOFError, gzip.BadGzipFile, zlib.error) as exc:
        raise LogError(f"{path}:{number + 1}: gzip data is cut short or damaged") from exc
    except (UnicodeDecodeError, csv.Error) as exc:
        what = "not UTF-8" if isinstance(exc, UnicodeDecodeError) else str(exc)
        raise LogError(f"{path}:{number + 1}: not a CSV table ({what})") from exc
    except OSError as exc:
        raise LogError(f"{path}: {exc.strerror or type(exc).__name__}") from exc
    finally:
        csv.field_size_limit(before)


def _opened(path: Path) -> TextIO:
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    if packed:
        return gzip.open(path, "rt", newline="", encoding="utf-8-sig")
    return path.open(newline="", encoding="utf-8-sig")
