"""`cascade log export`: a log as one Parquet file."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from cascade.errors import ConfigError, LogError
from cascade.exchange.parquet import write_decisions, write_rows
from cascade.labels import Labels, labels_of
from cascade.log_lines import numbered_lines
from cascade.log_reader import LogReader
from cascade.traffic_log import TrafficLog, is_decision_log

from .losses import mention_losses, mention_skipped

__all__ = ["export_command"]


def export_command(
    parquet: Annotated[Path, typer.Option("--parquet", help="The Parquet file to write.")],
    path: Annotated[
        Path,
        typer.Option(
            "--path", "-p", help="The log: a decision log or a traffic log; a file or a folder."
        ),
    ] = Path("logs"),
) -> None:
    """Write a log as one Parquet file, with its labels: train, tune and replay read it back.

    Example: cascade log export --parquet asks.parquet --path logs/
    """
    if not parquet.name.endswith(".parquet"):
        raise ConfigError(f"--parquet {parquet}: give a name that ends with .parquet")
    log = TrafficLog(paths=[path])
    files = log.files()
    if path.is_dir() and parquet.parent.resolve() == path.resolve():
        raise ConfigError(f"--parquet {parquet}: would become part of the log; name another folder")
    if any(parquet.exists() and parquet.samefile(file) for file in files):
        raise ConfigError(f"--parquet {parquet}: is the log itself")
    decisions = [file for file in files if is_decision_log(file)]
    others = [f for f in files if f not in decisions and next(numbered_lines(f), None)]
    if decisions and others:
        raise LogError(f"{path}: holds decision logs and traffic logs; export one kind at a time")
    if decisions:
        readers = [LogReader(path=file) for file in decisions]
        count = write_decisions(parquet, _records(readers))
        mention_losses(readers)
    else:
        count = write_rows(parquet, log)
        mention_skipped(log)
    if not count:
        print("nothing to export, no file written", file=sys.stderr)
        raise typer.Exit(1)
    print(f"{count:,} {'decision records' if decisions else 'rows'} written to {parquet}")


def _records(readers: Sequence[LogReader]) -> Iterator[tuple[dict[str, Any], Labels]]:
    for reader in readers:
        labels = labels_of(reader.path)
        for record in reader:
            yield record, labels
