"""Decision logs read back: every segment in a folder, oldest first, tolerant of a torn last line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from .errors import LogError
from .labels import LABELS
from .log_lines import numbered_lines
from .records import upgrade

__all__ = ["LogReader"]


@dataclass(slots=True, kw_only=True)
class LogReader:
    """Iterates over the decision records of a file or a folder of segments.

    Attributes:
        path: A segment, or a folder of them.
        torn: Lines that could not be read so far: cut off by a killed process, or no records.
        dropped: Records that the writer reported as dropped so far.
    """

    path: Path
    torn: int = field(default=0, init=False)
    dropped: int = field(default=0, init=False)

    def segments(self) -> list[Path]:
        """Return the files, oldest first.

        Raises:
            LogError: There is nothing at the path.
        """
        if self.path.is_file():
            return [self.path]
        if not self.path.is_dir():
            raise LogError(f"{self.path}: no such log; give a segment or a folder of segments")
        files = [*self.path.glob("*.jsonl"), *self.path.glob("*.jsonl.gz")]
        return sorted(file for file in files if not file.name.startswith(LABELS))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield every decision record, brought to the present schema.

        Raises:
            LogError: A record was written by a newer version; the message names file and line.
        """
        decoder = msgspec.json.Decoder(dict[str, Any])
        for path in self.segments():
            for number, line in numbered_lines(path):
                try:
                    record = decoder.decode(line)
                except (msgspec.DecodeError, UnicodeDecodeError):
                    self.torn += 1
                    continue
                if record.get("kind") == "dropped":
                    records = record.get("records")
                    self.dropped += records if isinstance(records, int) else 1
                    continue
                if not isinstance(record.get("attempts", []), list):
                    self.torn += 1
                    continue
                try:
                    yield upgrade(record)
                except LogError as exc:
                    raise LogError(f"{path}:{number}: {exc}") from exc

    def find(self, id_prefix: str) -> dict[str, Any]:
        """Return the record whose id begins with `id_prefix`.

        Raises:
            LogError: None does, or several do.
        """
        found = [record for record in self if str(record.get("id", "")).startswith(id_prefix)]
        if len(found) != 1:
            what = "no record" if not found else f"{len(found)} records"
            raise LogError(f"{self.path}: {what} with an id that begins with {id_prefix!r:.40}")
        return found[0]
