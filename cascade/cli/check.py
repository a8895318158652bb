"""`cascade check`: validates ladder files, or prints their JSON Schema."""

from __future__ import annotations

import sys
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

    Ends with 1 when a file has mistakes. Example: cascade check configs/*.yaml
    """
    from cascade.build import check_file

    if schema:
        from cascade.config import json_schema

        print(msgspec.json.format(msgspec.json.encode(json_schema()), indent=2).decode())
        return
    if not configs:
        raise typer.BadParameter("give at least one ladder file, or --schema")
    failed = False
    console = Console(soft_wrap=not sys.stdout.isatty(), highlight=False)
    for path in configs:
        problems: tuple[Problem, ...] = ()
        rungs: list[str] = []
        try:
            rungs = check_file(path, allow_unset=allow_unset)
        except LadderError as exc:
            problems, failed = exc.problems, True
        if json:
            print(msgspec.json.encode(_report(path, problems)).decode())
        elif problems:
            for problem in problems:
                console.print(f"[red]{escape(str(problem))}[/]")
        else:
            console.print(f"[green]{escape(str(path))}: good[/]: {escape(' → '.join(rungs))}")
    if failed:
        raise typer.Exit(1)


def _report(path: Path, problems: tuple[Problem, ...]) -> dict[str, Any]:
    return {
        "file": str(path),
        "valid": not problems,
        "problems": [
            {"path": p.path, "line": p.line, "message": p.message, "allowed": p.allowed}
            for p in problems
        ],
    }
