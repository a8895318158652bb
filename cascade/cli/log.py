"""`cascade log`: reads decision logs."""

from __future__ import annotations

import sys
from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from cascade.explain import format_usd
from cascade.labels import read_csv, write_labels
from cascade.log_reader import LogReader

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Read the decision log.")

_Folder = Annotated[
    Path, typer.Option("--path", "-p", help="The log: a folder of segments, or one segment.")
]


@app.command("ls")
def ls_command(
    path: _Folder = Path("logs"),
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, help="Newest records shown.")] = 20,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> None:
    """List the newest asks, oldest of them first.

    Example: cascade log ls --path logs/ -n 5
    """
    reader = LogReader(path=path)
    newest = deque(reader, maxlen=limit)
    if json:
        for record in newest:
            print(msgspec.json.encode(record).decode())
    else:
        table = Table(box=None, pad_edge=False)
        for name in ("id", "time", "outcome", "model", "sure", "calls", "cost", "seconds"):
            right = name in ("sure", "calls", "cost", "seconds")
            table.add_column(name, justify="right" if right else "left", no_wrap=True)
        for record in newest:
            table.add_row(*_row(record))
        console = Console()
        # Into a file or a pipe the table is as wide as it needs to be.
        Console(width=console.width if console.is_terminal else 200).print(table)
    _mention_losses(reader)


@app.command("show")
def show_command(
    id: Annotated[
        str, typer.Argument(help="Id of the ask, or the beginning of one.", metavar="ID")
    ],
    path: _Folder = Path("logs"),
    json: Annotated[bool, typer.Option("--json", help="Print the record as one line.")] = False,
) -> None:
    """Print one decision record.

    Example: cascade log show 3f2a --path logs/
    """
    reader = LogReader(path=path)
    encoded = msgspec.json.encode(reader.find(id))
    print((encoded if json else msgspec.json.format(encoded, indent=2)).decode())
    _mention_losses(reader)


@app.command("label")
def label_command(
    labels: Annotated[
        Path, typer.Argument(help="CSV with the columns id, score and, if wanted, model.")
    ],
    path: _Folder = Path("logs"),
) -> None:
    """Join labels to a decision log by id: what scorers are trained on.

    A score is 1 for right, 0 for wrong, or a grade between. Without a model the label is about the
    answer that was returned. Example: cascade log label verdicts.csv --path logs/
    """
    known = sorted(str(record.get("id")) for record in LogReader(path=path))
    found, strange = [], []
    for label in read_csv(labels):
        whole = _whole_id(label.id, known)
        if whole is None:
            strange.append(label.id)
        else:
            found.append(replace(label, id=whole))
    if found:
        write_labels(path if path.is_dir() else path.parent, found)
    print(f"{len(found)} labels joined")
    if strange:
        print(
            f"{len(strange)} ids are not in this log or begin several, such as {strange[0]!r}",
            file=sys.stderr,
        )
    if not found:
        raise typer.Exit(1)


def _whole_id(given: str, known: Sequence[str]) -> str | None:
    """Return the one id that is `given` or begins with it; `log ls` prints beginnings."""
    at = bisect_left(known, given)
    if at == len(known) or not given or not known[at].startswith(given):
        return None
    several = at + 1 < len(known) and known[at + 1].startswith(given) and known[at] != given
    return None if several else known[at]


def _row(record: dict[str, Any]) -> tuple[str, ...]:
    confidence = record.get("confidence")
    return (
        str(record.get("id", ""))[:8],
        str(record.get("time", ""))[5:19].replace("T", " "),
        str(record.get("outcome", "")),
        str(record.get("model") or "-"),
        f"{confidence:.2f}" if isinstance(confidence, int | float) else "-",
        str(sum(1 for a in record.get("attempts", ()) if a.get("verdict") != "skipped")),
        format_usd(record.get("cost_usd")),
        f"{record.get('latency_s') or 0.0:.3f}",
    )


def _mention_losses(reader: LogReader) -> None:
    if reader.torn:
        print(
            f"{reader.torn} lines could not be read (cut off by a killed process)", file=sys.stderr
        )
    if reader.dropped:
        print(f"{reader.dropped} records were dropped when they were written", file=sys.stderr)
