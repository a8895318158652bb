"""`cascade log`: lists and shows the records of decision logs; the other commands have their own modules."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.markup import escape

from cascade.explain import format_usd
from cascade.log_reader import LogReader

from .fitting import print_table, stdout_console
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
        columns = ("id", "time", "outcome", "model", "sure", "calls", "cost", "seconds")
        words = ["id", "time", "outcome", "model"]
        print_table(stdout_console(), columns, [_row(r) for r in newest], words=words)
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
        escape(str(record.get("model") or "-")),
        f"{confidence:.2f}" if isinstance(confidence, int | float) else "-",
        str(sum(1 for a in record.get("attempts", ()) if a.get("verdict") != "skipped")),
        format_usd(record.get("cost_usd")),
        f"{record.get('latency_s') or 0.0:.3f}",
    )
