"""`cascade log import`: logs of other tools as traffic logs."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from cascade.errors import ConfigError
from cascade.exchange.merged import merged
from cascade.exchange.openai_log import SHAPES, read_openai_log
from cascade.exchange.routerbench import COLUMNS, Layout, read_routerbench
from cascade.exchange.skips import Skips
from cascade.exchange.traffic_file import (
    PlacedRows,
    Written,
    named,
    output_problem,
    write_traffic,
)

from .tables import names_of

__all__ = ["import_command"]


class Source(StrEnum):
    """What the files are."""

    openai = "openai"
    routerbench = "routerbench"


def import_command(
    files: Annotated[
        list[Path],
        typer.Argument(help="JSON lines, CSV or Parquet, gzipped or not.", metavar="FILE…"),
    ],
    source: Annotated[
        Source,
        typer.Option(
            "--from",
            help="openai: request and response bodies. routerbench: a table with one column a model.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="The traffic log, .jsonl or .jsonl.gz.")
    ],
    merge: Annotated[
        bool,
        typer.Option(
            help="openai: answers to the same messages become one row, through a temporary file; "
            "--no-merge makes each answer a row of its own and needs none."
        ),
    ] = True,
    models: Annotated[
        str | None,
        typer.Option(help="routerbench: the columns that hold scores, separated by commas."),
    ] = None,
    test_share: Annotated[
        float | None,
        typer.Option(
            help="Mark this share of the rows as split `test`, the others as `train`, by a digest of "
            "the prompt. Absent: no splits but those in the files."
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Make a traffic log of OpenAI-style logs or of RouterBench-style tables.

    The file is written whole or not at all.
    Example: cascade log import requests.jsonl --from openai -o traffic.jsonl.gz
    """
    wanted = names_of(models)
    if wanted is not None and source is not Source.routerbench:
        raise ConfigError("--models goes with --from routerbench")
    problem = output_problem(output, files)
    if problem is not None:
        raise ConfigError(f"-o {problem}")
    skips, layouts = Skips(), list[Layout]()
    rows: PlacedRows
    if source is Source.openai:
        rows = read_openai_log(files, skips)
        rows = named(merged(rows, skips) if merge else rows)
    else:
        rows = named(read_routerbench(files, skips, models=wanted, layouts=layouts))
    written = write_traffic(output, rows, skips, test_share=test_share)
    for line in skips.told():
        print(line, file=sys.stderr)
    unused = dict.fromkeys(name for layout in layouts for name in layout.passed_over)
    if unused:
        print(f"columns passed over: {', '.join(unused)}", file=sys.stderr)
    if json:
        print(msgspec.json.encode(_as_json(written, skips, output)).decode())
    elif written.rows:
        _print(written, output)
    if not written.rows:
        allowed = SHAPES if source is Source.openai else COLUMNS
        print(f"nothing to import, no file written; allowed: {allowed}", file=sys.stderr)
        raise typer.Exit(1)


def _as_json(written: Written, skips: Skips, output: Path) -> dict[str, Any]:
    return {
        "output": str(output) if written.rows else None,
        "rows": written.rows,
        "answers": dict(written.answers),
        "scored": dict(written.scored),
        "splits": dict(written.splits),
        "skipped": dict(skips.counts),
        "first_skipped": dict(skips.first),
    }


def _print(written: Written, output: Path) -> None:
    print(f"{written.rows:,} requests written to {output}")
    for model, count in written.answers.items():
        print(f"  {model}: {count:,} answers, {written.scored[model]:,} with a score")
    if set(written.splits) != {""}:
        splits = ", ".join(
            f"{n:,} {name or 'without a split'}" for name, n in written.splits.items()
        )
        print(f"  splits: {splits}")
    if not any(written.scored.values()):
        print("  scorers are trained on scores: add them with `cascade log label`")
