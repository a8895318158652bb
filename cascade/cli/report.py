"""`cascade report`: the frontier against every baseline, as one page that opens offline."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.markup import escape

from cascade.clock import SystemClock
from cascade.errors import ConfigError

from .prices import PriceList, read_prices
from .tables import Logs, PricesOption, ReadLog, load_scorer, names_of, read_log, tell

if TYPE_CHECKING:
    from cascade.replay.report import Figures
    from scorers.artifact import Artifact

__all__ = ["report_command"]


def report_command(
    logs: Annotated[list[Path], Logs],
    output: Annotated[Path, typer.Option("-o", "--output", help="The HTML file to write.")],
    scorer: Annotated[
        Path | None,
        typer.Option(
            help="Directory of a trained scorer. Absent: only policies that need none are compared."
        ),
    ] = None,
    models: Annotated[
        str | None,
        typer.Option(help="Models to choose from, separated by commas. Absent: the scorer's."),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            help="Measure on this split. Absent: `test`, or, in a log without one, a fixed 40 % of "
            "the rows that nothing is chosen on."
        ),
    ] = None,
    tune_split: Annotated[
        str | None,
        typer.Option(
            help="Choose on this split. Absent: rows of `train` and rows without a split."
        ),
    ] = None,
    prices: Annotated[Path | None, PricesOption] = None,
    text: Annotated[
        bool,
        typer.Option(
            "--text/--no-text",
            help="Whether the page shows excerpts of prompts and answers that went wrong.",
        ),
    ] = True,
    seed: Annotated[int, typer.Option(min=0, help="Same seed and rows: same figures.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Write the whole comparison as one self-contained HTML page.

    Example: cascade report traffic.jsonl.gz --scorer scorers/support -o report.html
    """
    from cascade.replay.page import page, texts_of
    from cascade.replay.policy_file import write_whole
    from cascade.replay.report import figures

    console = Console(stderr=True, soft_wrap=True, highlight=False)
    wanted = names_of(models)
    artifact = load_scorer(scorer, wanted)
    rows = _read(logs, artifact, wanted, split, tune_split, read_prices(prices), seed)
    tell(console, rows.tuning)
    if rows.report.told != rows.tuning.told:
        tell(console, rows.report)
    found = figures(rows.tuning.table, rows.report.table, seed=seed)
    about = _about(rows, found, artifact, logs, seed, text)
    for line in about.notes:
        console.print(f"[yellow]{escape(line)}[/]")
    read = rows.report
    shown = texts_of(found, read.table.models, read.prompts, read.answers) if text else None
    write_whole(output, page(found, about, shown))
    if json:
        print(msgspec.json.encode(_as_json(found, output)).decode())
        return
    _print(found, output)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rows:
    """The rows to choose on and the rows to measure on."""

    tuning: ReadLog
    report: ReadLog
    chosen_on: str
    measured_on: str
    notes: tuple[str, ...]


def _read(
    logs: list[Path],
    artifact: Artifact | None,
    models: tuple[str, ...] | None,
    split: str | None,
    tune_split: str | None,
    prices: PriceList,
    seed: int,
) -> _Rows:
    def read(*splits: str | None) -> ReadLog:
        return read_log(
            logs, artifact, models=models, splits=list(splits), prices=prices, seed=seed
        )

    if tune_split == (split or "test"):
        raise ConfigError(
            f"--split{'' if split else ' (absent)'} and --tune-split are both {tune_split!r}: "
            "choose on other rows"
        )
    report = read("test", tune_split) if split is None else read(split)
    if split is None and report.split != "test":
        return _divided(report, tune_split)
    tuning = read(tune_split)
    named = f"split {tune_split}" if tune_split else "split train, or rows without one"
    return _apart(tuning, report, named, f"split {report.split}")


def _divided(read: ReadLog, tune_split: str | None) -> _Rows:
    """A log without a `test` split: part of its rows is kept for measuring, by digest of the id."""
    import numpy as np

    from cascade.replay.tune import CERTIFICATE_SHARE, kept_apart

    apart = kept_apart(read.table.asked)
    words = f"split {tune_split}" if tune_split else "the log"
    return _apart(
        _take(read, np.flatnonzero(~apart)),
        _take(read, np.flatnonzero(apart)),
        f"the other {1 - CERTIFICATE_SHARE:.0%} of {words}",
        f"{CERTIFICATE_SHARE:.0%} of {words}, by digest of what is asked",
    )


def _apart(tuning: ReadLog, report: ReadLog, chosen_on: str, measured_on: str) -> _Rows:
    """Leave out of the report what was also chosen on; say what else is not clean."""
    import numpy as np

    seen = set(zip(tuning.table.ids, tuning.prompts, strict=True))
    fresh = [
        i
        for i, row in enumerate(zip(report.table.ids, report.prompts, strict=True))
        if row not in seen
    ]
    notes = []
    if len(fresh) < report.table.n:
        notes.append(
            f"left out {report.table.n - len(fresh):,} of {report.table.n:,} report rows: they are "
            "among the tuning rows too"
        )
        if not fresh:
            raise ConfigError(f"--split: {notes[0]}; name other rows")
        report = _take(report, np.array(fresh, dtype=np.intp))
    asked = set(tuning.prompts)
    again = sum(prompt in asked for prompt in report.prompts)
    if again:
        notes.append(
            f"{again:,} of {report.table.n:,} report rows ask what a tuning row asks, word for word"
        )
    trained = int(report.trained_on.sum())
    if trained:
        notes.append(
            f"the scorer was trained on {trained:,} of {report.table.n:,} report rows: its scores of "
            "them are out of fold, but its calibration has seen them"
        )
    return _Rows(
        tuning=tuning,
        report=report,
        chosen_on=chosen_on,
        measured_on=measured_on,
        notes=tuple(notes),
    )


def _take(read: ReadLog, rows: Any) -> ReadLog:
    return replace(
        read,
        table=read.table.take(rows),
        trained_on=read.trained_on[rows],
        prompts=[read.prompts[int(i)] for i in rows],
        answers=[read.answers[int(i)] for i in rows],
    )


def _about(
    rows: _Rows,
    found: Figures,
    artifact: Artifact | None,
    logs: list[Path],
    seed: int,
    text: bool,
) -> Any:
    from cascade import __version__
    from cascade.replay.page import About

    notes = list(rows.notes)
    if found.unknown:
        notes.append(
            f"{found.unknown:,} report rows are not measured: the log lacks the answer, score or price "
            "of some model there"
        )
    if artifact is None:
        notes.append("no scorer was given: only single models and agreement are compared")
    else:
        blind = [m for m in rows.report.table.models if not artifact.separates.get(m, True)]
        if blind:
            notes.append(f"the scorer does not tell right from wrong answers of {', '.join(blind)}")
    if not text:
        notes.append("prompts and answers are left out of this page (--no-text)")
    names = [path.absolute().name or str(path) for path in logs]
    return About(
        title=f"Cascade report: {', '.join(names)}",
        made=SystemClock().now_iso(),
        program=f"cascade {__version__}",
        logs=names,
        digest=rows.report.digest,
        scorer=None if artifact is None else artifact.version,
        measured_on=rows.measured_on,
        chosen_on=rows.chosen_on,
        notes=notes,
        seed=seed,
    )


def _as_json(found: Figures, output: Path) -> dict[str, Any]:
    ours = found.lines[0]
    return {
        "report": str(output),
        "n": found.n,
        "unknown": found.unknown,
        "strongest": found.strongest,
        "quality_of_strongest": found.strongest_quality.value,
        "lift": ours.lift.value,
        "saving_at": {str(level.share): level.saved.value for level in found.levels},
        "saving_at_ci": {
            str(level.share): [level.saved.low, level.saved.high] for level in found.levels
        },
    }


def _print(found: Figures, output: Path) -> None:
    console = Console(highlight=False, soft_wrap=True)
    for level in found.levels:
        saved = level.saved
        shown = (
            "unknown"
            if saved.value != saved.value
            else f"{saved.value:.1%}  [{saved.low:.1%}, {saved.high:.1%}]"
        )
        console.print(
            f"saved at {level.share:4.0%} of {escape(found.strongest)}'s quality  {shown}"
        )
    console.print(f"{found.n:,} requests measured, policies chosen on {found.tuned_on:,} others")
    console.print(f"wrote {escape(str(output))}")
