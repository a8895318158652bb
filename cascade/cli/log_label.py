"""`cascade log label`: scores for logged answers, from a CSV or from a judge model."""

from __future__ import annotations

import sys
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from cascade.errors import ConfigError, LogError
from cascade.labels import Label, read_csv, write_labels
from cascade.log_reader import LogReader
from cascade.traffic_log import TrafficLog, is_decision_log

__all__ = ["label_command"]


def label_command(
    labels: Annotated[
        Path | None,
        typer.Argument(help="CSV with the columns id, score and, if wanted, model."),
    ] = None,
    path: Annotated[
        Path,
        typer.Option("--path", "-p", help="The log: a decision log or a traffic log."),
    ] = Path("logs"),
    judge: Annotated[
        str | None,
        typer.Option(
            help="Let this model grade the answers without a score: a rung of the ladder file, its "
            "judge, or PROVIDER/MODEL."
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "-c", "--config", help="Ladder file. Default: $CASCADE_CONFIG, or ./cascade.yaml."
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Most answers the judge grades, from the first.")
    ] = None,
    at_once: Annotated[int, typer.Option(min=1, help="Most calls of the judge in flight.")] = 8,
    yes: Annotated[
        bool, typer.Option("--yes", help="Ask the judge; without it only the cost is told.")
    ] = False,
) -> None:
    """Join scores to a log by id: what scorers are trained on.

    A score is 1 for right, 0 for wrong, or a grade between. Without a model the label is about the
    answer that was returned. Scores come from a CSV, or from a judge model, whose cost is told first.
    Example: cascade log label verdicts.csv --path logs/
    Example: cascade log label --judge gpt-4o -c ladder.yaml --path traffic.jsonl.gz --yes
    """
    if (labels is None) == (judge is None):
        raise ConfigError("give a CSV file or --judge MODEL, one of them")
    if judge is not None:
        from .log_judge import judge_log

        judge_log(judge, config, path, limit=limit, at_once=at_once, yes=yes)
        return
    assert labels is not None
    known, log = _answers(path)
    ids = sorted(known)
    found: list[Label] = []
    strange: list[str] = []
    for label in read_csv(labels):
        whole = _whole_id(label.id, ids)
        placed = None if whole is None else _placed(label, whole, known[whole], log)
        if placed is None:
            strange.append(label.id)
        else:
            found.append(placed)
    if found:
        write_labels(path if path.is_dir() else path.parent, found)
    print(f"{len(found)} labels joined")
    if strange:
        why = "are not in this log or begin several"
        why += "" if log is None else ", or name none of the models that answered"
        print(f"{len(strange)} ids {why}, such as {strange[0]!r}", file=sys.stderr)
    if not found:
        raise typer.Exit(1)


def _answers(path: Path) -> tuple[Mapping[str, tuple[str, ...]], str | None]:
    """Return the models that answered by id, and the file name of a traffic log (None: decisions)."""
    files = TrafficLog(paths=[path]).files()
    traffic = [file for file in files if not is_decision_log(file) and file.stat().st_size]
    if not traffic:
        return {str(record.get("id")): () for record in LogReader(path=path)}, None
    if len(files) > 1:
        raise LogError(
            f"{path}: holds several traffic logs; name the one file that the labels are about"
        )
    rows: Iterator[tuple[str, tuple[str, ...]]] = (
        (row.id, tuple(response.model for response in row.responses))
        for row in TrafficLog(paths=files)
        if row.id
    )
    return dict(rows), files[0].name


def _placed(label: Label, id: str, models: tuple[str, ...], log: str | None) -> Label | None:
    """Return the label with its whole id and, in a traffic log, its model; None when it has no place."""
    if log is None:
        return replace(label, id=id)
    model = models[0] if label.model is None and len(models) == 1 else label.model
    return replace(label, id=id, model=model, log=log) if model in models else None


def _whole_id(given: str, known: list[str]) -> str | None:
    """Return the one id that is `given` or begins with it; `log ls` prints beginnings."""
    at = bisect_left(known, given)
    if at == len(known) or not given or not known[at].startswith(given):
        return None
    several = at + 1 < len(known) and known[at + 1].startswith(given) and known[at] != given
    return None if several else known[at]
