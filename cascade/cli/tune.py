"""`cascade tune`: picks a policy on logged traffic and states what it promises."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.markup import escape

from cascade.clock import SystemClock
from cascade.errors import ConfigError
from cascade.explain import format_usd

from .fitting import print_table, stdout_console
from .prices import read_prices
from .tables import Logs, PricesOption, ReadLog, load_scorer, names_of, read_log, tell

if TYPE_CHECKING:
    from cascade.replay.search import Candidate
    from cascade.replay.tune import Tuned
    from scorers.artifact import Artifact

__all__ = ["tune_command"]

BARS_FROM = 120
"""Characters a line must have for the bars of cost to be shown."""


def tune_command(
    logs: Annotated[list[Path], Logs],
    output: Annotated[Path, typer.Option("-o", "--output", help="The policy file to write.")],
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
        typer.Option(help="Tune on this split. Absent: rows of `train` and rows without a split."),
    ] = None,
    quality: Annotated[
        float | None,
        typer.Option(
            help="Keep at least this share of the strongest model's quality, at the least cost."
        ),
    ] = None,
    budget: Annotated[
        float | None,
        typer.Option(help="Spend at most this many US dollars a request, at the best quality."),
    ] = None,
    tradeoff: Annotated[
        float | None,
        typer.Option(help="US dollars that one right answer more is worth."),
    ] = None,
    confidence: Annotated[
        float | None,
        typer.Option(
            help="Promise the quality with this confidence, tested on rows kept apart from the search."
        ),
    ] = None,
    certify: Annotated[
        list[Path] | None,
        typer.Option(help="Logs to test the promise on, instead of a part of the rows."),
    ] = None,
    certify_split: Annotated[
        str | None,
        typer.Option(help="Test the promise on this split of the same logs, or of --certify's."),
    ] = None,
    frontier: Annotated[
        Path | None,
        typer.Option(help="Write every policy on the hull of cost and quality to this JSON file."),
    ] = None,
    compress: Annotated[
        bool,
        typer.Option(
            "--compress",
            help="Read logs of `cascade probe` instead, and say where prompt compression is harmless.",
        ),
    ] = False,
    prices: Annotated[Path | None, PricesOption] = None,
    seed: Annotated[int, typer.Option(min=0, help="Same seed and rows: same policy.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Pick the policy that keeps a quality at the least cost, or the best one for a cost.

    Example: cascade tune traffic.jsonl.gz --scorer scorers/support --quality 0.95 --confidence 0.95 -o tuned.yaml
    Example: cascade tune --compress probe.jsonl --quality 0.95 --confidence 0.95 -o compress.yaml
    """
    if compress:
        from .tune_compress import check_alone, tune_compression

        check_alone(
            {
                "--scorer": scorer,
                "--models": models,
                "--split": split,
                "--budget": budget,
                "--tradeoff": tradeoff,
                "--certify": certify,
                "--certify-split": certify_split,
                "--frontier": frontier,
                "--prices": prices,
            }
        )
        tune_compression(logs, output, quality=quality, confidence=confidence, json=json)
        return
    from cascade.replay.tune import Goal, tune

    goal = Goal(quality=quality, budget_usd=budget, tradeoff_usd=tradeoff)
    if confidence is not None and not 0.0 < confidence < 1.0:
        raise ConfigError(f"--confidence {confidence:g} is not between 0 and 1")
    if (certify or certify_split) and confidence is None:
        raise ConfigError("--certify and --certify-split need --confidence")
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    wanted = names_of(models)
    artifact = load_scorer(scorer, wanted)
    price_list = read_prices(prices)
    read = read_log(logs, artifact, models=wanted, splits=[split], prices=price_list, seed=seed)
    apart = None
    if certify or certify_split:
        chosen = wanted or read.table.models
        splits = [certify_split] if certify_split else [split, None, "test"]
        apart = read_log(certify or logs, artifact, models=chosen, splits=splits, prices=price_list)
        _check_apart(read, apart)
    tell(console, read)
    tuned = tune(
        read.table,
        goal,
        confidence=confidence,
        certificate=None if apart is None else apart.table,
        seed=seed,
    )
    told = _words(tuned, read if apart is None else apart, artifact)
    _write(output, frontier, tuned, told, read, artifact, logs, goal)
    if json:
        print(msgspec.json.encode(_as_json(tuned, told)).decode())
        return
    _print(tuned, told, output)


def _check_apart(read: ReadLog, apart: ReadLog) -> None:
    """A promise on rows that were searched is none."""
    known = set(read.table.asked)
    shared = sum(asked in known for asked in apart.table.asked)
    if shared:
        raise ConfigError(
            f"--certify: {shared:,} of its {apart.table.n:,} rows ask what a tuning row asks"
        )


def _words(tuned: Tuned, tested: ReadLog, artifact: Artifact | None) -> list[str]:
    """Return the promise and the advice, line by line."""
    lines = []
    blind = (
        []
        if artifact is None
        else [m for m in tested.table.models if not artifact.separates.get(m, True)]
    )
    if tuned.promise is not None:
        lines.append(tuned.promise.text)
        if tuned.promise.certified and bool(tested.trained_on.any()):
            lines.append(
                "the scorer was trained on rows of this log: its scores of them are out of fold, but "
                "its calibration has seen them; --certify or --certify-split with rows it never saw "
                "promises strictly"
            )
    if tuned.promise is not None and not bool(tested.table.complete.all()):
        lines.append(
            "rows that lack some model's answer were passed over: if a ladder chose whom to ask, those "
            "that are left are not traffic like the rest, and neither is what is promised of them"
        )
    if blind:
        lines.append(
            f"the scorer does not tell right from wrong answers of {', '.join(blind)}: expect little "
            "from policies that live by its scores of them"
        )
    return [*lines, *tuned.advice]


def _write(
    output: Path,
    frontier: Path | None,
    tuned: Tuned,
    told: list[str],
    read: ReadLog,
    artifact: Artifact | None,
    logs: list[Path],
    goal: Any,
) -> None:
    from cascade.replay.policy_file import policy_mapping, policy_yaml, write_whole

    version = None if artifact is None else artifact.version
    goals = {
        "quality": goal.quality,
        "budget_usd": goal.budget_usd,
        "tradeoff_usd": goal.tradeoff_usd,
    }
    provenance = {
        "tuned": SystemClock().now_iso(),
        "logs": [str(path) for path in logs],
        "log_digest": read.digest,
        "split": read.split,
        "scorer": version,
        "goal": {name: value for name, value in goals.items() if value is not None},
        "n": tuned.n,
        "strongest": tuned.strongest,
        "quality": tuned.chosen.quality,
        "quality_ci": list(tuned.quality_ci),
        "quality_of_strongest": tuned.strongest_quality,
        "cost_usd": tuned.chosen.cost,
        "saving": tuned.saving,
        "promise": _promise(tuned),
    }
    head = [
        f"{tuned.chosen.policy.version}: quality {tuned.chosen.quality:.4f}, "
        f"{format_usd(tuned.chosen.cost)} a request on {tuned.n} tuning rows",
        *told,
    ]
    text = policy_yaml(
        tuned.chosen.policy, scorer=version, provenance=provenance, told="\n".join(head)
    )
    write_whole(output, text)
    if frontier is not None:
        whole = {
            "kind": "cascade frontier",
            "scorer": version,
            "models": list(read.table.models),
            "provenance": provenance,
            "points": [
                {
                    "policy": policy_mapping(point.policy),
                    "quality": point.quality,
                    "cost_usd": point.cost,
                }
                for point in tuned.frontier
            ],
        }
        encoded = msgspec.json.format(msgspec.json.encode(whole), indent=1).decode()
        write_whole(frontier, encoded + "\n")


def _promise(tuned: Tuned) -> dict[str, Any] | None:
    promise = tuned.promise
    if promise is None:
        return None
    return {
        "certified": promise.certified,
        "ratio": promise.ratio,
        "confidence": promise.confidence,
        "n": promise.n,
        "more_rows": promise.more_rows,
        "text": promise.text,
    }


def _as_json(tuned: Tuned, told: list[str]) -> dict[str, Any]:
    from cascade.replay.policy_file import policy_mapping

    return {
        "policy": policy_mapping(tuned.chosen.policy),
        "version": tuned.chosen.policy.version,
        "n": tuned.n,
        "tried": tuned.tried,
        "quality": tuned.chosen.quality,
        "quality_ci": list(tuned.quality_ci),
        "cost_usd": tuned.chosen.cost,
        "strongest": tuned.strongest,
        "quality_of_strongest": tuned.strongest_quality,
        "saving": tuned.saving,
        "promise": _promise(tuned),
        "frontier": [
            {"policy": c.policy.version, "quality": c.quality, "cost_usd": c.cost}
            for c in tuned.frontier
        ],
        "told": told,
    }


def _print(tuned: Tuned, told: list[str], output: Path) -> None:
    from cascade.replay.words import name_of

    console = stdout_console()
    console.print(
        f"Frontier on {tuned.n:,} tuning rows ({tuned.tried:,} policies compared); "
        "chosen and reported on the same rows, so replay it on others"
    )
    shown = sorted(
        {c.policy.version: c for c in (*tuned.frontier, tuned.chosen)}.values(), key=_cost
    )
    top = max((c.cost for c in shown), default=0.0)
    columns = ["cost", "quality", "of strongest", "saving", "policy"]
    if console.width >= BARS_FROM:
        columns.append("")
    rows = []
    for one in shown:
        saving = "-" if tuned.strongest_cost <= 0 else f"{1 - one.cost / tuned.strongest_cost:.1%}"
        share = (
            "-" if not tuned.strongest_quality else f"{one.quality / tuned.strongest_quality:.1%}"
        )
        bar = "█" * round(24 * one.cost / top) if top > 0 else ""
        name = escape(name_of(one.policy))
        if one.policy.version == tuned.chosen.policy.version:
            name = f"[bold green]{name} ← chosen[/]"
        cells = [format_usd(one.cost), f"{one.quality:.4f}", share, saving, name, bar]
        rows.append(cells[: len(columns)])
    print_table(console, columns, rows, words=["policy", ""])
    console.print(
        f"strongest: {escape(tuned.strongest)}, quality {tuned.strongest_quality:.4f}, "
        f"{format_usd(tuned.strongest_cost)} a request"
    )
    certified = tuned.promise is not None and tuned.promise.certified
    for i, line in enumerate(told):
        console.print(f"[{'bold' if certified and i == 0 else 'bold yellow'}]{escape(line)}[/]")
    if tuned.promise is None:
        console.print("no promise was asked for: --confidence 0.95 tests one on rows kept apart")
    console.print(f"wrote {escape(str(output))}")


def _cost(candidate: Candidate) -> float:
    return candidate.cost
