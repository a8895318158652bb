"""The judge behind `cascade log label --judge`: found in a ladder file, priced, asked."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import typer

from cascade.errors import ConfigError
from cascade.exchange.judging import (
    FAILURES_IN_A_ROW,
    CountingClient,
    Judged,
    Unlabelled,
    WithFields,
    judge,
    unlabelled,
)
from cascade.exchange.skips import Skips
from cascade.explain import format_usd
from cascade.labels import LabelFile
from cascade.ports import Client, Scorer
from cascade.pricing import Price, cost_usd

if TYPE_CHECKING:
    from cascade.config import LadderConfig

__all__ = ["judge_log"]

_CLOSING_S = 5.0

_COUNTED_AS = "gpt-4o"
"""Model whose tokens are counted beforehand. Models differ: by some 20 % for English text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judge:
    """A model that grades answers.

    Attributes:
        model: The provider's name of it.
        provider: Name of its provider in the ladder file.
        price: Its prices, or None when unknown.
        fields: Extra request fields.
        prompt: What it is asked; None for the judge scorer's own question.
        max_tokens: Output limit of a verdict.
    """

    model: str
    provider: str
    price: Price | None
    fields: Mapping[str, Any]
    prompt: str | None = None
    max_tokens: int = 8

    def scorer(self, client: Client) -> Scorer:
        """Return the scorer that asks it through this client."""
        from scorers.judged import JudgedScorer

        return JudgedScorer(
            client,
            self.model,
            partial(cost_usd, price=self.price),
            prompt=self.prompt,
            max_tokens=self.max_tokens,
        )


def judge_log(
    name: str, config: Path | None, path: Path, *, limit: int | None, at_once: int, yes: bool
) -> None:
    """Tell what the judge is going to cost and, with `yes`, label the answers without a score.

    Raises:
        ConfigError: The ladder file has mistakes or knows no such judge; the log cannot be read.
        typer.Exit: 1 when nothing was asked although there was something to ask, no label came of
            it, or the judge was given up.
    """
    from cascade import build
    from cascade.build_clients import provider_clients

    file = config or build.default_config_path()
    # Not a whole engine: the judge need not be a rung, and the other providers are not opened.
    settings, chosen = _find(name, build.ladder_settings(file), str(file))
    count = _tell_cost(chosen, path, limit)
    if not count:
        return
    if not yes:
        print("nothing was asked; add --yes to go on")
        raise typer.Exit(1)
    clients = provider_clients(settings)
    labels, judged = LabelFile(path if path.is_dir() else path.parent), Judged()
    try:
        anyio.run(partial(_work, chosen, clients, path, labels, count, at_once, judged))
    finally:
        _tell_end(judged, path)
    if judged.stopped or not judged.labels:
        raise typer.Exit(1)


def _find(name: str, config: LadderConfig, file: str) -> tuple[LadderConfig, _Judge]:
    """Return the judge of that name, and the configuration with its provider in use."""
    from cascade.catalogue import catalogue_price
    from cascade.config import JudgeScorer, RungConfig

    asked = config.scorer
    if isinstance(asked, JudgeScorer) and asked.model == name:
        rung = RungConfig(model=name, provider=asked.provider, price=asked.price)
        prompt, max_tokens = asked.prompt, asked.max_tokens
    else:
        prompt, max_tokens = None, 8
        rungs = [r for r in config.ladder if r.model == name]
        if len(rungs) > 1:
            raise ConfigError(f"--judge {name}: served by several providers; write PROVIDER/MODEL")
        provider, _, model = name.partition("/")
        if not rungs and (not model or provider not in config.providers):
            models = ", ".join(r.model for r in config.ladder)
            providers = ", ".join(config.providers)
            raise ConfigError(
                f"--judge {name}: {file} has no such model; allowed: {models}, or PROVIDER/MODEL "
                f"with one of the providers {providers}"
            )
        same = [r for r in config.ladder if (r.provider, r.model) == (provider, model)]
        rung = (rungs or same or [RungConfig(model=model, provider=provider)])[0]
    config = config.model_copy(update={"ladder": (rung,)})
    priced = config.to_ladder(catalogue_price).rungs[0]
    return config, _Judge(
        model=rung.model,
        provider=rung.provider,
        price=priced.price,
        fields=rung.request,
        prompt=prompt,
        max_tokens=max_tokens,
    )


def _counting() -> tuple[Callable[[str], int], str]:
    """Return (text → tokens, how it counts)."""
    from cascade.build import token_counter

    counter = token_counter()
    how = counter.how(_COUNTED_AS)
    told = "by an estimate" if how == "estimate" else f"by tiktoken's {how}"
    return partial(counter.count, model=_COUNTED_AS), told


def _tell_cost(chosen: _Judge, path: Path, limit: int | None) -> int:
    """Print what there is to judge and what it is going to cost; return the number of answers."""
    skips = Skips()
    count, how = _counting()
    counting = CountingClient(count)

    async def measure() -> float:
        total = 0.0
        scorer = chosen.scorer(counting)
        for one in unlabelled(path, skips, limit=limit):
            score = await scorer.score(one.request, [one.attempt()])
            total += score.cost_usd or 0.0
            await anyio.lowlevel.checkpoint()  # so that Ctrl-C gets in
        return total

    expected = anyio.run(measure)
    for line in skips.told():
        print(line, file=sys.stderr)
    if not counting.calls:
        print("no answer is left to judge")
        if skips.counts:
            raise typer.Exit(1)
        return 0
    price = chosen.price
    cost = (
        f"unknown, as no price of {chosen.model} is known (`price` in the ladder file)"
        if price is None
        else f"about {format_usd(expected)} at ${price.input:g} in and ${price.output:g} out a "
        "million tokens"
    )
    print(
        f"{counting.calls:,} answers without a score, to be judged by {chosen.provider}/{chosen.model}"
    )
    print(f"expected cost: {cost}")
    print(
        f"  {counting.prompt_tokens:,} tokens in, counted {how}; "
        f"at most {counting.completion_tokens:,} out"
    )
    return counting.calls


async def _work(
    chosen: _Judge,
    clients: Mapping[str, Client],
    path: Path,
    labels: LabelFile,
    count: int,
    at_once: int,
    judged: Judged,
) -> None:
    scorer = chosen.scorer(WithFields(clients[chosen.provider], chosen.fields))
    try:
        with labels:
            answers = _told(unlabelled(path, Skips(), limit=count), count)
            await judge(answers, scorer, labels.write, judged, at_once=at_once)
    finally:
        with anyio.move_on_after(_CLOSING_S, shield=True):
            for client in clients.values():
                await client.aclose()


def _told(answers: Iterator[Unlabelled], count: int) -> Iterator[Unlabelled]:
    """Print how far the work has come, a line a tenth."""
    for i, one in enumerate(answers):
        if i and i * 10 // count > (i - 1) * 10 // count:
            print(f"{i:,} of {count:,} answers", file=sys.stderr)
        yield one


def _tell_end(judged: Judged, path: Path) -> None:
    for reason, count in judged.failures.most_common():
        print(f"{count:,} without a label: {reason}", file=sys.stderr)
    if judged.stopped:
        print(
            f"given up after {FAILURES_IN_A_ROW} answers in a row without a verdict",
            file=sys.stderr,
        )
    unknown = judged.cost_unknown
    more = f", and {unknown:,} calls whose cost is unknown" if unknown else ""
    print(f"{judged.labels:,} labels written beside {path}")
    print(f"spent {format_usd(judged.cost_usd)}{more}")
