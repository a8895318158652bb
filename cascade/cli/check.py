"""`cascade check`: validates ladder files, or prints their JSON Schema."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.markup import escape

from cascade.errors import LadderError, Problem

__all__ = ["check_command"]


def check_command(
    configs: Annotated[
        list[Path] | None, typer.Argument(help="Ladder files.", metavar="CONFIG…")
    ] = None,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON Schema that editors use, and stop.")
    ] = False,
    allow_unset: Annotated[
        bool,
        typer.Option(
            "--allow-unset", help="Do not count environment variables that are not set here."
        ),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object a file.")] = False,
) -> None:
    """Validate ladders: every mistake with file, line, key path, what was given and what is allowed.

    Ends with 1 when a file has mistakes, and with 2 when one cannot be read. Of the log behind a
    recorded provider the first 64 MB are read; what was left out is told.
    Example: cascade check configs/*.yaml
    """
    from cascade.build import check_file

    if schema:
        from cascade.config import json_schema

        print(msgspec.json.format(msgspec.json.encode(json_schema()), indent=2).decode())
        return
    if not configs:
        raise typer.BadParameter("give at least one ladder file, or --schema")
    code = 0
    console = Console(soft_wrap=not sys.stdout.isatty(), highlight=False)
    for path in configs:
        problems: tuple[Problem, ...] = ()
        rungs: list[str] = []
        notes: list[str] = []
        try:
            rungs = check_file(path, allow_unset=allow_unset, on_note=notes.append)
        except LadderError as exc:
            problems = exc.problems
            code = max(code, 2 if isinstance(exc.__cause__, OSError) else 1)
        if json:
            print(msgspec.json.encode(_report(path, problems, notes)).decode())
            continue
        for problem in problems:
            console.print(f"[red]{escape(str(problem))}[/]")
        if not problems:
            console.print(f"[green]{escape(str(path))}: good[/]: {escape(' → '.join(rungs))}")
        for note in notes:
            console.print(f"{escape(f'{path}: note: {note}')}")
    if code:
        raise typer.Exit(code)


def _report(path: Path, problems: Sequence[Problem], notes: Sequence[str]) -> dict[str, Any]:
    return {
        "file": str(path),
        "valid": not problems,
        "problems": [
            {
                "file": p.file,
                "path": p.path,
                "line": p.line,
                "message": p.message,
                "allowed": p.allowed,
            }
            for p in problems
        ],
        "notes": list(notes),
    }
