"""Files of JSON lines, plain, gzipped or Parquet, read a line at a time: a log never has to fit in memory."""

from __future__ import annotations

import codecs
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import msgspec

from .errors import LogError

__all__ = ["JSON_COLUMNS", "NO_PYARROW", "numbered_lines"]

JSON_COLUMNS = b"cascade.json"
"""Key in a Parquet file's metadata: the columns whose text is JSON, a list of paths such as
``attempts.probabilities``. What has other fields in every row (a chat, probabilities by action) is
kept so, as a Parquet column has the same fields in all rows."""

NO_PYARROW = "Parquet needs pyarrow; install it with: pip install 'cascade-ask[parquet]'"

_PARQUET = b"PAR1"
_GZIP = b"\x1f\x8b"
_BATCH_ROWS = 1_000


def numbered_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield (line number from 1, line) of a file; blank lines are passed over.

    The kind is told from the content, not from the name. The rows of a Parquet file are yielded as
    JSON objects, numbered from 1; reading them needs pyarrow (extra `parquet`).

    Raises:
        LogError: The file cannot be read, or is cut short; names the file and, where it has one, the line.
    """
    try:
        with path.open("rb") as file:
            start = file.read(4)
            file.seek(0)
            if start == _PARQUET:
                yield from _parquet_rows(path)
                return
            lines = _unpacked(path, file) if start[:2] == _GZIP else file
            for number, line in enumerate(lines, start=1):
                if number == 1:
                    line = line.removeprefix(codecs.BOM_UTF8)  # what Windows puts before text
                if line and not line.isspace():
                    yield number, line
    except OSError as exc:
        raise LogError(f"{path}: {exc.strerror or type(exc).__name__}") from exc


def _unpacked(path: Path, file: IO[bytes]) -> Iterator[bytes]:
    number = 0
    with gzip.open(file, "rb") as unpacked:
        try:
            for line in unpacked:
                number += 1
                yield line
        except (EOFError, gzip.BadGzipFile, zlib.error) as exc:
            raise LogError(f"{path}:{number + 1}: gzip data is cut short or damaged") from exc


def _parquet_rows(path: Path) -> Iterator[tuple[int, bytes]]:
    try:
        import pyarrow as arrow
        import pyarrow.parquet as parquet
    except ImportError as exc:
        raise LogError(f"{path}: {NO_PYARROW}") from exc
    number = 0
    try:
        file = parquet.ParquetFile(path)
        written = (file.schema_arrow.metadata or {}).get(JSON_COLUMNS, b"[]")
        columns = [column.split(".") for column in msgspec.json.decode(written, type=list[str])]
        for batch in file.iter_batches(batch_size=_BATCH_ROWS):
            for row in batch.to_pylist():
                number += 1
                for column in columns:
                    _unpack(row, column)
                yield number, msgspec.json.encode(row)
    except (arrow.ArrowException, OSError, msgspec.DecodeError) as exc:
        raise LogError(
            f"{path}: not a Parquet file that can be read ({type(exc).__name__})"
        ) from exc


def _unpack(value: Any, column: list[str]) -> None:
    """Put what the JSON text at `column` says in its place, in every element of lists on the way."""
    if isinstance(value, list):
        for item in value:
            _unpack(item, column)
    elif isinstance(value, dict):
        name, *rest = column
        if rest:
            _unpack(value.get(name), rest)
        elif isinstance(value.get(name), str):
            value[name] = msgspec.json.decode(value[name])
