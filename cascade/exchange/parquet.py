"""Logs as Parquet files that other tools can query, and that `train`, `tune` and `replay` read back.

A decision log keeps its whole records, a traffic log its whole rows; labels beside either are put in
as scores.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from ..errors import LogError
from ..labels import Labels
from ..log_lines import JSON_COLUMNS, NO_PYARROW
from ..records import TrafficRow, attempt_score

__all__ = ["write_decisions", "write_rows"]

_BATCH = 1_000
"""Rows held in memory at once."""

_TEXT, _REAL, _COUNT, _JSON = "text", "real", "count", "json"

_ATTEMPT = {
    "rung": _COUNT,
    "model": _TEXT,
    "provider": _TEXT,
    "verdict": _TEXT,
    "reason": _TEXT,
    "action": _TEXT,
    "probabilities": _JSON,
    "threshold": _REAL,
    "confidence": _REAL,
    "measures": _JSON,
    "forecast": _JSON,
    "failed_gates": [_TEXT],
    "error": _JSON,
    "cost_usd": _REAL,
    "latency_s": _REAL,
    "finish_reason": _TEXT,
    "prompt_tokens": _COUNT,
    "completion_tokens": _COUNT,
    "cached_tokens": _COUNT,
    "reasoning_tokens": _COUNT,
    "text": _TEXT,
    "tool_calls": _JSON,
    "logprobs": [_REAL],
    "top_logprobs": [[_REAL]],
    "score": _REAL,
}

_DECISION = {
    "schema": _COUNT,
    "kind": _TEXT,
    "id": _TEXT,
    "time": _TEXT,
    "ladder": {"name": _TEXT, "version": _TEXT, "metadata": _JSON},
    "policy": _TEXT,
    "scorer": _TEXT,
    "tenant": _TEXT,
    "metadata": _JSON,
    "request": {
        "digest": _TEXT,
        "messages": _COUNT,
        "characters": _COUNT,
        "tools": _COUNT,
        "response_format": _TEXT,
        "temperature": _REAL,
        "max_tokens": _COUNT,
    },
    "outcome": _TEXT,
    "rung": _COUNT,
    "model": _TEXT,
    "confidence": _REAL,
    "degraded": _TEXT,
    "error": _JSON,
    "cost_usd": _REAL,
    "saving_usd_estimate": _REAL,
    "latency_s": _REAL,
    "opening": _JSON,
    "attempts": [_ATTEMPT],
    "messages": _JSON,
}

_TRAFFIC = {
    "id": _TEXT,
    "task": _TEXT,
    "split": _TEXT,
    "prompt": _TEXT,
    "messages": _JSON,
    "reference": _JSON,
    "responses": [
        {
            "model": _TEXT,
            "text": _TEXT,
            "score": _REAL,
            "prompt_tokens": _COUNT,
            "completion_tokens": _COUNT,
            "logprobs": [_REAL],
            "top_logprobs": [[_REAL]],
            "latency_s": _REAL,
            "finish_reason": _TEXT,
            "cost_usd": _REAL,
            "p_true": _REAL,
            "confidence": _REAL,
        }
    ],
}


def write_rows(path: Path, rows: Iterable[TrafficRow]) -> int:
    """Write traffic rows as Parquet, whole or not at all; return how many there were.

    Raises:
        LogError: pyarrow is not installed, or the file cannot be written.
    """
    return _write(path, _TRAFFIC, (msgspec.to_builtins(row) for row in rows))


def write_decisions(path: Path, records: Iterable[tuple[dict[str, Any], Labels]]) -> int:
    """Write decision records with the labels beside them as Parquet; return how many there were.

    Raises:
        LogError: pyarrow is not installed, or the file cannot be written.
    """
    return _write(path, _DECISION, (_scored(record, labels) for record, labels in records))


def _scored(record: dict[str, Any], labels: Labels) -> dict[str, Any]:
    id, kept = str(record.get("id", "")), record.get("model")
    attempts = [
        {**a, "score": attempt_score(labels, id, a, returned=a.get("model") == kept)}
        for a in record.get("attempts", ())
    ]
    return {**record, "attempts": attempts}


def _write(path: Path, schema: dict[str, Any], rows: Iterator[dict[str, Any]]) -> int:
    try:
        import pyarrow as arrow
        import pyarrow.parquet as parquet
    except ImportError as exc:
        raise LogError(f"{path}: {NO_PYARROW}") from exc
    columns = arrow.schema(
        [(name, _type(arrow, kind)) for name, kind in schema.items()],
        metadata={JSON_COLUMNS: msgspec.json.encode(list(_json_columns(schema)))},
    )
    part = path.with_name(path.name + ".part")
    count = 0
    try:
        with (
            part.open("wb") as raw,
            parquet.ParquetWriter(raw, columns, compression="zstd") as file,
        ):
            while batch := [_packed(row, schema) for row in islice(rows, _BATCH)]:
                file.write_table(arrow.Table.from_pylist(batch, schema=columns))
                count += len(batch)
        if count:
            part.replace(path)
    except OSError as exc:
        raise LogError(f"{path}: cannot be written ({exc.strerror or type(exc).__name__})") from exc
    except arrow.ArrowException as exc:
        # Arrow's own words quote what it was given.
        where = f"one of the rows {count + 1:,} to {count + _BATCH:,}"
        raise LogError(f"{path}: {where} has a field of another kind than its column") from exc
    finally:
        part.unlink(missing_ok=True)
    return count


def _type(arrow: Any, kind: Any) -> Any:
    if isinstance(kind, dict):
        return arrow.struct([(name, _type(arrow, inner)) for name, inner in kind.items()])
    if isinstance(kind, list):
        return arrow.list_(_type(arrow, kind[0]))
    return {_REAL: arrow.float64(), _COUNT: arrow.int64()}.get(kind, arrow.string())


def _json_columns(kind: Any, place: str = "") -> Iterator[str]:
    """Yield the path of every column that holds JSON; lists add nothing to a path."""
    if isinstance(kind, list):
        yield from _json_columns(kind[0], place)
    elif isinstance(kind, dict):
        for name, inner in kind.items():
            yield from _json_columns(inner, f"{place}.{name}" if place else name)
    elif kind == _JSON:
        yield place


def _packed(value: Any, kind: Any) -> Any:
    """Return a value as its column takes it: known fields only, free-form ones as JSON text."""
    if value is None:
        return None
    if isinstance(kind, dict) and isinstance(value, dict):
        return {name: _packed(value.get(name), inner) for name, inner in kind.items()}
    if isinstance(kind, list) and isinstance(value, list):
        return value if kind[0] == _REAL else [_packed(item, kind[0]) for item in value]
    return msgspec.json.encode(value).decode() if kind == _JSON else value
