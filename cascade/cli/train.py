"""`cascade train`: fits, calibrates and saves a scorer, and says what it is worth."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from cascade.clock import SystemClock
from cascade.errors import ScorerError
from cascade.explain import format_usd
from cascade.traffic_log import TrafficLog

from .fitting import print_table, stdout_console
from .losses import ignored_fields
from .prices import PriceList, read_prices

if TYPE_CHECKING:
    from scorers.dataset import Collected, TooFewLabels
    from scorers.prefixes import PrefixModel
    from scorers.report import Report
    from scorers.training import Trained

__all__ = ["progress", "train_command"]

BIN_WIDTH = 13
"""Characters of one bin of the reliability table, and the gap beside it."""


def train_command(
    logs: Annotated[
        list[Path],
        typer.Argument(
            help="Traffic logs and decision logs (.jsonl, .jsonl.gz, .parquet), or folders of them.",
            metavar="LOG…",
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Directory for the scorer.")],
    models: Annotated[
        str | None,
        typer.Option(
            help="The ladder, cheapest first, separated by commas. Absent: the log's models, or, of "
            "more than five, three to five on the hull of price and quality."
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(help="Train on this split. Absent: rows of `train` and rows without a split."),
    ] = None,
    report_split: Annotated[
        str | None,
        typer.Option(help="Measure on this split. Absent: on the training rows, out of fold."),
    ] = None,
    prices: Annotated[
        Path | None,
        typer.Option(
            help='JSON {model: {"input": USD per million tokens, "output": …}}; wins over the '
            "catalogue. `cost_usd` in the log wins over both."
        ),
    ] = None,
    p_true: Annotated[
        bool,
        typer.Option(
            "--p-true", help="Use the logged `p_true`; only if live answers will have it too."
        ),
    ] = False,
    prefixes: Annotated[
        str | None,
        typer.Option(
            help="Tokens after which beginnings of answers are to be scored too, for streams: 16,32,64."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Same seed and rows: same scorer.")] = 0,
    sample: Annotated[
        int, typer.Option(min=25, help="Rows kept of a longer log, at random.")
    ] = 120_000,
    explain: Annotated[
        bool, typer.Option("--explain", help="Print the features that matter most.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Train a scorer on what models answered and how right they were.

    With fewer than 25 labelled answers of a model it leaves a ranking of the answers, which is no
    probability.
    Example: cascade train traffic.jsonl.gz -o scorers/support
    """
    from scorers.artifact import check_target
    from scorers.dataset import TooFewLabels, TrainingFailed
    from scorers.training import choose_models, train

    console = Console(stderr=True, soft_wrap=True, highlight=False)
    wanted = None if models is None else _names(models)
    checkpoints = _checkpoints(prefixes)
    price_list = read_prices(prices)
    check_target(output)  # now, and not after minutes of training
    log = TrafficLog(paths=logs)
    try:
        with progress(console) as tell:
            found = _collect(log, split, wanted, price_list, sample, seed, tell, checkpoints)
            _check_split(found, split, "--split")
            choice = choose_models(found, wanted)
            held_out = None
            if report_split is not None:
                other = _collect(log, report_split, choice.models, price_list, sample, seed, tell)
                _check_split(other, report_split, "--report-split")
                held_out = (report_split, other)
            trained = train(
                found,
                choice.models,
                seed=seed,
                split=split,
                prices=price_list.table(choice.models),
                p_true=p_true,
                held_out=held_out,
                checkpoints=checkpoints,
                progress=tell,
            )
    except TrainingFailed as exc:
        _tell_skipped(console, log)
        if isinstance(exc, TooFewLabels) and _cold_start(
            log, split, wanted, price_list, sample, seed, output, exc, json, console
        ):
            return
        console.print(f"[bold red]error:[/] {escape(str(exc))}")
        raise typer.Exit(1) from exc
    version = trained.save(output, created=SystemClock().now_iso())
    _tell_skipped(console, log)
    for line in (*choice.told, *_tell_sampling(trained)):
        console.print(escape(line))
    if json:
        print(msgspec.json.encode(_as_json(trained, version, output, log, explain)).decode())
        return
    _print(trained, version, output, explain)


def _cold_start(
    log: TrafficLog,
    split: str | None,
    wanted: list[str] | None,
    prices: PriceList,
    sample: int,
    seed: int,
    output: Path,
    why: TooFewLabels,
    json: bool,
    errors: Console,
) -> bool:
    """Write a ranking instead of a scorer; return False where nothing can be ranked either."""
    from scorers.dataset import collect

    from .train_cold import write_cold_start

    found = collect(
        log,
        split=split,
        models=wanted,
        price=prices.cost,
        limit=sample,
        seed=seed,
        need_score=False,
    )
    models = tuple(wanted or found.models)
    return write_cold_start(found, models, output, why.labels, str(why), json=json, errors=errors)


def _names(given: str) -> list[str]:
    names = [name.strip() for name in given.split(",") if name.strip()]
    if not names:
        raise ScorerError("--models is empty; give names separated by commas")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ScorerError(f"--models names {', '.join(twice)} twice")
    return names


def _checkpoints(given: str | None) -> tuple[int, ...]:
    """Return the checkpoints that `--prefixes` names."""
    if given is None:
        return ()
    parts = [part.strip() for part in given.split(",")]
    numbers = tuple(int(part) for part in parts if part.isascii() and part.isdigit())
    rising = all(a < b for a, b in pairwise(numbers))
    if len(numbers) != len(parts) or not rising or numbers[0] < 1:
        raise ScorerError(
            f"--prefixes {given!r} given; allowed: whole numbers >= 1, rising: 16,32,64"
        )
    return numbers


_Tell = Callable[[float, str], None]


@contextmanager
def progress(console: Console) -> Iterator[_Tell]:
    """Show how far it is; into a pipe, a line a fifth."""
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as bar:
        task = bar.add_task("reading the log", total=1.0)
        last = ["", 0]

        def tell(share: float, what: str) -> None:
            bar.update(task, completed=share, description=what)
            tenth = int(share * 5)
            if not console.is_terminal and [what, tenth] != last and tenth != last[1]:
                console.print(f"{share:4.0%} {what}")  # a pipe gets a line a fifth
            last[:] = [what, tenth]

        yield tell


def _collect(
    log: TrafficLog,
    split: str | None,
    models: list[str] | tuple[str, ...] | None,
    prices: PriceList,
    sample: int,
    seed: int,
    tell: _Tell,
    checkpoints: Sequence[int] = (),
) -> Collected:
    from scorers.dataset import collect

    def rows() -> Iterator[Any]:
        for row in log:
            if log.rows % 1_000 == 0:
                tell(0.0, f"reading the log: {log.rows:,} rows")
            yield row

    return collect(
        rows(),
        split=split,
        models=models,
        price=prices.cost,
        limit=sample,
        seed=seed,
        others=True,
        checkpoints=checkpoints,
    )


def _check_split(found: Collected, split: str | None, option: str) -> None:
    known = found.known_splits
    if not known or (split in known if split is not None else known.keys() & {"train", ""}):
        return
    names = ", ".join(f"{name or '(none)'}: {n:,} rows" for name, n in sorted(known.items()))
    asked = "train" if split is None else split
    raise ScorerError(f"{option}: no row is of split {asked!r}; the log has {names}")


def _tell_skipped(console: Console, log: TrafficLog) -> None:
    for reason, count in log.skipped.most_common():
        first = escape(log.first_skipped[reason])
        console.print(f"[yellow]skipped {count:,} rows:[/] {escape(reason)}; the first: {first}")
    for line in ignored_fields(log):
        console.print(f"[yellow]{escape(line)}[/]")


def _tell_sampling(trained: Trained) -> list[str]:
    import numpy as np

    data, used = trained.dataset, trained.oof.used
    told = [
        f"left out {count:,} rows: {why}"
        for why, count in data.left_out.items()
        if why[:5] != "split"
    ]
    if data.seen > len(data):
        told.append(f"{data.seen:,} rows in the log; {len(data):,} of them drawn at random")
    labelled = int(np.isfinite(data.score).any(axis=1).sum())
    if labelled < len(data):
        told.append(f"{len(data) - labelled:,} rows lack a score of every model of the ladder")
    if labelled > used.rows:
        told.append(
            f"fitted on {used.rows:,} of {labelled:,} rows, drawn at random, complete ones first"
        )
    return [*told, *used.in_words()]


def _as_json(
    trained: Trained, version: str, output: Path, log: TrafficLog, explain: bool
) -> dict[str, Any]:
    told: dict[str, Any] = {
        "scorer": str(output),
        "version": version,
        "models": list(trained.model.models),
        "rows": trained.model.n,
        "used": trained.oof.used.as_json(),
        "skipped": dict(log.skipped),
        "ignored": dict(log.ignored),
        "left_out": dict(trained.dataset.left_out),
        **trained.report.as_json(),
    }
    told["models"] = [
        {**model, "mean_cost_usd": fact["mean_cost_usd"]}
        for model, fact in zip(told["models"], trained.facts["models"], strict=True)
    ]
    if trained.prefixes is not None:
        told["prefixes"] = trained.prefixes.as_json()
    if explain:
        told["features"] = [
            {"model": f.model, "feature": f.feature, "gain": f.gain, "shap": f.shap}
            for f in trained.explain()
        ]
    return told


def _print(trained: Trained, version: str, output: Path, explain: bool) -> None:
    report = trained.report
    console = stdout_console()
    console.print(f"P(right | prompt, own answer) on {escape(report.held_out)}")
    _print_scores(console, trained)
    console.print()
    console.print("Against simpler scorers: AUROC / Brier on the same rows")
    _print_against(console, report)
    console.print()
    console.print("Reliability: what was said → what was right, before and after calibration")
    _print_reliability(console, report)
    if trained.prefixes is not None:
        console.print()
        console.print(
            "P(right) from the beginning of an answer, each scored by learners that had not seen it"
        )
        _print_prefixes(console, trained.prefixes)
    if explain:
        console.print()
        _print_features(console, trained)
    console.print()
    mark = "bold" if all(m.separates for m in report.models) else "bold yellow"
    console.print(f"[{mark}]{escape(report.verdict)}[/]")
    console.print(escape(report.stage))
    console.print(escape(report.next_labels))
    console.print(f"saved {escape(str(output))} ({escape(version)})")
    sys.stdout.flush()


def _print_scores(console: Console, trained: Trained) -> None:
    measures = ("AUROC", "95 %", "Brier", "(before)", "ECE", "(before)")
    columns = ("model", "cost", "n", "right", *measures)
    rows = []
    for model, fact in zip(trained.report.models, trained.facts["models"], strict=True):
        low_high = model.auroc_interval
        rows.append(
            (
                escape(model.name),
                format_usd(fact["mean_cost_usd"]),
                f"{model.n:,}",
                f"{model.base_rate:.3f}",
                _number(model.auroc),
                "-" if low_high is None else f"{low_high[0]:.3f}–{low_high[1]:.3f}",
                f"{model.brier:.3f}",
                f"{model.brier_before:.3f}",
                f"{model.ece:.3f}",
                f"{model.ece_before:.3f}",
            )
        )
    print_table(console, columns, rows, words=["model"])


def _print_against(console: Console, report: Report) -> None:
    names = list(report.models[0].baselines)
    rows = []
    for model in report.models:
        cells = [
            f"{_number(model.baselines[n].auroc)} / {_number(model.baselines[n].brier)}"
            for n in names
        ]
        rows.append((escape(model.name), f"{_number(model.auroc)} / {model.brier:.3f}", *cells))
    print_table(console, ("model", "this scorer", *names), rows, words=["model"])


def _print_reliability(console: Console, report: Report) -> None:
    """Print the bins of each model, as many on a line as it holds beside or below the model's name."""
    most = max(len(m.reliability) for m in report.models)
    name = max(len(m.name) for m in report.models)
    room = console.width - len("before")
    per_line = most if room >= name + 2 + most * BIN_WIDTH else max(1, room // BIN_WIDTH)
    rows = []
    for model in report.models:
        first = model.name
        for told, bins in (("before", model.reliability_before), ("after", model.reliability)):
            cells = [f"{b.said:.2f} → {b.was:.2f}" for b in bins]
            for start in range(0, len(cells), per_line):
                line = cells[start : start + per_line]
                line += [""] * (min(per_line, most) - len(line))
                rows.append((escape(first), told, *line))
                first = told = ""
    numbers = [str(i + 1) if per_line >= most else "" for i in range(min(per_line, most))]
    print_table(console, ("model", " ", *numbers), rows, words=["model", " "])


def _print_prefixes(console: Console, model: PrefixModel) -> None:
    if not model.heads:
        console.print("no model has enough labelled answers that long")
        return
    columns = ("model", "tokens", "n", "right", "AUROC", "Brier", "(prompt alone)")
    rows = [
        (
            escape(model.models[head.model]),
            f"{head.tokens}",
            f"{head.rows:,}",
            f"{head.base_rate:.3f}",
            _number(head.auroc),
            f"{head.brier:.3f}",
            f"{head.brier_before:.3f}",
        )
        for head in model.heads
    ]
    print_table(console, columns, rows, words=["model"])


def _print_features(console: Console, trained: Trained) -> None:
    found = trained.explain()
    if not found:
        console.print("no trees: below 150 rows only linear heads are fitted")
        return
    rows, last = [], ""
    for one in found:
        shown = one.model if one.model != last else ""
        rows.append((escape(shown), one.feature, f"{one.gain:.1%}", f"{one.shap:.3f}"))
        last = one.model
    columns = ("model", "feature", "gain", "mean |SHAP|")
    print_table(console, columns, rows, words=["model", "feature"])


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
