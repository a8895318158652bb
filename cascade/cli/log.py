"""`cascade log`: lists and shows the records of decision logs; the other commands have their own modules."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from cascade.explain import format_usd
from cascade.log_reader import LogReader

from .log_export import export_command
from .log_import import import_command
from .log_label import label_command
from .losses import mention_losses

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    help="Read, label, import and export logs.\n\nExample: cascade log ls --path logs/",
)
app.command("label")(label_command)
app.command("import")(import_command)
app.command("export")(export_command)

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
    mention_losses([reader])


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
    mention_losses([reader])


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
