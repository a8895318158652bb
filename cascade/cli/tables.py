"""Logs and a scorer as a table for tuning and replay; what could not be used is counted and told."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.markup import escape

from cascade.errors import ConfigError, RequestError
from cascade.fingerprint import digest, request_digest
from cascade.intake import make_request
from cascade.records import TrafficRow
from cascade.traffic_log import TrafficLog

from .losses import ignored_fields
from .prices import PriceList

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cascade.replay.table import Table
    from scorers.artifact import Artifact
    from scorers.dataset import Collected

__all__ = ["Logs", "PricesOption", "ReadLog", "load_scorer", "names_of", "read_log", "tell"]

Logs = typer.Argument(
    help="Traffic logs and decision logs (.jsonl, .jsonl.gz, .parquet), or folders of them.",
    metavar="LOG…",
)
PricesOption = typer.Option(
    help='JSON {model: {"input": USD per million tokens, "output": …}}; wins over the catalogue. '
    "`cost_usd` in the log wins over both."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadLog:
    """A log as a table.

    Attributes:
        table: The table.
        trained_on: Whether the scorer was trained on the row; its forecasts are out of fold there.
            Shape (n,).
        digest: Of the rows.
        split: The split that was read; "" for rows of ``train`` and rows without a split.
        rows_in_log: Rows that could have been used; more than the table's when they were sampled.
        told: What was left out, in words.
        prompts: Of the rows. Length n.
        answers: Text of each model's answer, in the order of the table's columns; None where the
            log holds none. Length n.
    """

    table: Table
    trained_on: NDArray[np.bool_]
    digest: str
    split: str
    rows_in_log: int
    told: tuple[str, ...]
    prompts: Sequence[str]
    answers: Sequence[Sequence[str | None]]


def names_of(given: str | None) -> tuple[str, ...] | None:
    """Return the models that an option names, separated by commas; None when it is absent.

    Raises:
        ConfigError: It is empty, or names one twice.
    """
    if given is None:
        return None
    names = tuple(name.strip() for name in given.split(",") if name.strip())
    if not names or len(set(names)) < len(names):
        raise ConfigError(f"--models {given!r:.200}: give each model once, separated by commas")
    return names


def load_scorer(path: Path | None, models: Sequence[str] | None) -> Artifact | None:
    """Return the scorer, checked against the models that are wanted; None without one."""
    if path is None:
        return None
    from scorers import artifact

    return artifact.load(path, models)


def read_log(
    logs: Sequence[Path],
    scorer: Artifact | None,
    *,
    models: Sequence[str] | None,
    splits: Sequence[str | None],
    prices: PriceList,
    seed: int = 0,
    compare: bool = True,
    random: bool = False,
) -> ReadLog:
    """Read logs into a table.

    Args:
        logs: Files or folders.
        scorer: Gives the forecasts; None: the table has none.
        models: The columns; None: the scorer's models, or all of the log's.
        splits: Tried in order until one has rows; None stands for rows of ``train`` and rows
            without a split.
        prices: Of the models, where the log does not say what was paid.
        seed: Of the sample of a very long log.
        compare: Whether the answers are compared with each other; only agreement needs it.
        random: Whether a random policy is to draw as it would live: by the digest of each request.

    Raises:
        ConfigError: No row can be used, a model is not in the log, or one has no price.
        LogError: A log cannot be read.
    """
    import numpy as np

    from cascade.replay.table import make_table
    from scorers.comparisons import who_agrees
    from scorers.dataset import collect, row_key

    log = TrafficLog(paths=list(logs))
    draws: dict[str, str] | None = {} if random else None
    wanted = models if scorer is None else scorer.models
    asked_in: dict[str, set[str]] = {}
    for split in splits:
        found = collect(
            _watched(log if draws is None else _noting(log, draws), asked_in),
            split=split,
            models=wanted,
            price=prices.cost,
            seed=seed,
            signals=scorer is not None,
            need_prompt=scorer is not None,
        )
        if len(found):
            break
    else:
        _check_models(wanted, found.models)
        told = ", ".join(
            f"{s or '(none)'}: {n:,} rows" for s, n in sorted(found.known_splits.items())
        )
        wanted_split = splits[-1]
        if (
            wanted_split is not None
            and found.known_splits
            and wanted_split not in found.known_splits
        ):
            raise ConfigError(
                f"no row of the log can be used: none is of split {wanted_split!r}; it has {told}"
            )
        if (
            wanted_split is None
            and found.known_splits
            and not {"", "train"} & set(found.known_splits)
        ):
            raise ConfigError(
                f"no row of the log can be used: none is of split 'train', or without a split; it has "
                f"{told}: name one with --split"
            )
        left = "; ".join(f"{n:,} rows: {why}" for why, n in found.left_out.items())
        raise ConfigError(
            f"no row of the log can be used (splits: {told or 'none'}; {left or 'empty'})"
        )
    names = tuple(wanted or found.models)
    _check_models(names, found.models)
    texts = found.texts(names)
    score, cost = found.column("score", names), found.column("cost_usd", names)
    said = np.array([[text is not None for text in row] for row in texts], np.bool_)
    known = said.reshape(score.shape) | np.isfinite(score)
    _check_prices(known, cost, names)
    q, same, trained_on = None, None, np.zeros(len(found), dtype=np.bool_)
    if scorer is not None:
        data = found.dataset(names, p_true=scorer.uses_p_true)
        q, trained_on = scorer.scores(data, np.arange(len(found)))
        same = data.blocks.same
    elif compare:
        same = who_agrees(found, names)
    latency = found.column("latency_s", names)
    keys = [row_key(a, b).decode() for a, b in zip(found.ids, found.prompts, strict=True)]
    table = make_table(
        models=names,
        # A row without an id is known by the digest of its prompt.
        ids=[id or key for id, key in zip(found.ids, keys, strict=True)],
        score=score,
        cost=cost,
        latency=latency if np.isfinite(latency).any() else None,
        q=q,
        same=same,
        known=known,
        asked=[
            _what_is_asked(prompt) or digest(key)
            for prompt, key in zip(found.prompts, keys, strict=True)
        ],
        drawn_by=None if draws is None else [draws[key] for key in keys],
    )
    if models is not None and tuple(models) != names:
        table = table.only(models)
        texts = found.texts(models)
    return ReadLog(
        table=table,
        trained_on=trained_on,
        digest=found.digest(names),
        split=split or "",
        rows_in_log=found.seen,
        told=(*_told(log, found, table), *_asked_twice(table.asked, asked_in, split)),
        prompts=found.prompts,
        answers=texts,
    )


def _check_models(wanted: Sequence[str] | None, known: Sequence[str]) -> None:
    missing = [name for name in wanted or () if name not in known]
    if missing and known:
        raise ConfigError(f"not in the log: {', '.join(missing)}; it has {', '.join(known)}")


def _what_is_asked(prompt: str) -> str | None:
    """Return the digest of a prompt without regard to case and spaces; None where it is empty."""
    words = prompt.lower().split()
    return digest(" ".join(words)) if words else None


def _watched(rows: Iterable[TrafficRow], asked_in: dict[str, set[str]]) -> Iterator[TrafficRow]:
    """Yield rows, and note by split what they ask."""
    asked_in.clear()
    for row in rows:
        asked = _what_is_asked(row.prompt) if row.split else None
        if asked is not None:
            asked_in.setdefault(row.split, set()).add(asked)
        yield row


def _asked_twice(
    asked: Sequence[str], asked_in: dict[str, set[str]], split: str | None
) -> list[str]:
    """Return how many rows ask what rows of other splits ask, in words; nothing where none does."""
    others = {
        other: sum(one in there for one in asked)
        for other, there in sorted(asked_in.items())
        if other != (split or "train")
    }
    return [
        f"{count:,} of {len(asked):,} rows ask what rows of split {other!r} ask too: what is chosen on "
        "one split and measured on the other looks better than on new questions"
        for other, count in others.items()
        if count
    ]


def _noting(log: TrafficLog, draws: dict[str, str]) -> Iterator[TrafficRow]:
    """Yield the rows of a log, and note the digest of each row's request by its key."""
    from scorers.dataset import row_key

    for row in log:
        try:
            drawn_by = request_digest(make_request(row.messages or row.prompt))
        except RequestError:  # a row that could not be asked live either
            drawn_by = row.id
        draws[row_key(row.id, row.prompt).decode()] = drawn_by
        yield row


def tell(console: Console, read: ReadLog) -> None:
    """Print what was left out."""
    for line in read.told:
        console.print(f"[yellow]{escape(line)}[/]")


def _check_prices(
    known: NDArray[np.bool_], cost: NDArray[np.float64], names: Sequence[str]
) -> None:
    import numpy as np

    unpriced = [
        name
        for j, name in enumerate(names)
        if known[:, j].any() and not np.isfinite(cost[known[:, j], j]).any()
    ]
    if unpriced:
        raise ConfigError(
            f"no price is known for {', '.join(unpriced)}; give --prices FILE, or `cost_usd` in the log"
        )


def _told(log: TrafficLog, data: Collected, table: Table) -> list[str]:
    told = [
        f"skipped {count:,} rows: {reason}; the first: {log.first_skipped[reason]}"
        for reason, count in log.skipped.most_common()
    ]
    told += ignored_fields(log)
    told += [
        f"left out {count:,} rows: {why}"
        for why, count in data.left_out.items()
        if not why.startswith("split")
    ]
    if data.seen > len(data):
        told.append(f"{data.seen:,} rows in the log; {len(data):,} of them drawn at random")
    holes = table.n - int(table.complete.sum())
    if holes:
        told.append(f"{holes:,} rows lack the answer, score or cost of some model")
    return told
