"""What do several questions in one call save, and what do they cost in quality? On local models.

Headlines of a shared log, one system message with the log's 22 worked examples, asked singly and 2, 4
and 8 a call; then 4 a call with answers below a confidence asked alone after all. Quality is the share of
right words; differences are paired by question, their 95 % intervals bootstrap groups of eight neighbours,
as answers given together are not independent.

    python benchmarks/ask_many.py [--questions 104] [--models NAME,…] [--schema] [--smoke]

Cost is at the models' reference prices for every input token; the last column is what it is where a
provider bills a preamble that it has cached at a tenth.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import anyio
import numpy as np

from benchmarks._shared import DATA, absent, write_result
from cascade import Answer, Cascade, Ladder, ModelCall, OneOfMany, Price, Rung, Usage
from cascade.build import cache_folder
from cascade.local.catalogue import MODELS, RUNTIME, LocalModel
from cascade.local.models import model_file
from cascade.local.packages import install, missing
from cascade.local.server import serve
from cascade.records import TrafficRow
from cascade.together import Together
from cascade.traffic_log import TrafficLog
from scorers import LogprobScorer

LOG = "local_headlines"
WAYS = (1, 2, 4, 8)
"""Questions a call."""
THRESHOLDS = (0.6, 0.7, 0.8, 0.9)
"""Confidences below which an answer of 4 a call is asked alone after all. At temperature 0 the answer alone is
that of asking singly, so these rows are worked out from the others and not asked again."""
GROUP = 8
MAX_TOKENS = 8
BOOTSTRAPS = 2_000
CACHED = 0.1
WORDS = ("up", "down", "neutral", "none")


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way to ask, over all questions.

    Attributes:
        model: Who was asked.
        per_call: Questions a call.
        accept: Confidence below which an answer was asked alone; None: readable was enough.
        structured: Whether the reply was held to a JSON schema.
        right: For each question whether the answer was right.
        confidence: Of each answer; NaN where unknown.
        usd: What each question cost.
        alone: Share of the questions that were asked alone after all.
        calls: Calls made.
        prompt_tokens: Input tokens a question.
        cost_usd: Of 1,000 questions.
        cached_usd: The same with the preamble at a tenth of the input price from the second call on.
        seconds: Wall seconds a question, on a machine with other work.
    """

    model: str
    per_call: int
    accept: float | None
    structured: bool
    right: tuple[bool, ...]
    confidence: tuple[float, ...]
    usd: tuple[float, ...]
    alone: float
    calls: int
    prompt_tokens: float
    cost_usd: float
    cached_usd: float
    seconds: float


class Counting:
    """A client that counts calls and input tokens on their way."""

    def __init__(self, inner: object) -> None:
        self._inner = inner
        self.prompt_tokens: list[int] = []

    async def complete(self, call: ModelCall) -> Answer:
        """Perform the call."""
        answer: Answer = await self._inner.complete(call)  # type: ignore[attr-defined]
        self.prompt_tokens.append(answer.usage.prompt_tokens or 0)
        return answer

    async def aclose(self) -> None:
        """Close what performs the calls."""
        await self._inner.aclose()  # type: ignore[attr-defined]


class MadeUp:
    """A model that always knows, for --smoke."""

    async def complete(self, call: ModelCall) -> Answer:
        """Say the first word of each question."""
        asked = call.request.messages[-1]
        many = [r.prompt for r in asked.alone] if isinstance(asked, Together) else None
        text = (
            call.request.prompt.split()[0]
            if many is None
            else "{" + ", ".join(f'"{n}": "{q.split()[0]}"' for n, q in enumerate(many, 1)) + "}"
        )
        tokens = sum(len(str(m.content).split()) for m in call.request.messages)
        usage = Usage(prompt_tokens=tokens, completion_tokens=len(text.split()))
        return Answer(text=text, model=call.model, finish_reason="stop", usage=usage)

    async def aclose(self) -> None:
        """Nothing is open."""


def preamble(row: TrafficRow) -> str:
    """Return the log's instruction and worked examples as one text."""
    assert row.messages is not None
    lines = [str(row.messages[0]["content"]), "", "Examples:"]
    for asked, said in zip(row.messages[1:-1:2], row.messages[2:-1:2], strict=True):
        lines.append(f"{asked['content']} -> {said['content']}")
    return "\n".join(lines)


def is_right(result: OneOfMany, reference: object) -> bool:
    """Return whether the first word is the label: as the log's own scores compare it."""
    said = result.text.strip().strip("\"'.").split()
    return bool(said) and said[0].strip(".,\"'").casefold() == str(reference).casefold()


async def ask_all(
    engine: Cascade,
    counting: Counting,
    rows: Sequence[TrafficRow],
    before: str,
    per_call: int,
    structured: bool,
) -> Way:
    """Ask every question one way."""
    counting.prompt_tokens.clear()
    started = time.perf_counter()
    results = await engine.ask_many(
        [row.prompt for row in rows],
        preamble=before,
        per_call=per_call,
        structured=structured,
        at_once=1,
        temperature=0.0,
        max_tokens=MAX_TOKENS,
    )
    seconds = time.perf_counter() - started
    assert [r.question for r in results] == [row.prompt for row in rows]
    cost = math.fsum(r.cost_usd or 0.0 for r in results)
    rung = engine.ladder.rungs[0]
    assert rung.price is not None
    shortest = min(counting.prompt_tokens)
    in_usd = rung.price.input / 1e6
    spared = (len(counting.prompt_tokens) - 1) * preamble_tokens(before, shortest)
    return Way(
        model=rung.model,
        per_call=per_call,
        accept=None,
        structured=structured,
        right=tuple(is_right(r, row.reference) for r, row in zip(results, rows, strict=True)),
        confidence=tuple(math.nan if r.confidence is None else r.confidence for r in results),
        usd=tuple(r.cost_usd or 0.0 for r in results),
        alone=float(np.mean([r.why_alone is not None for r in results])),
        calls=len(counting.prompt_tokens),
        prompt_tokens=sum(counting.prompt_tokens) / len(rows),
        cost_usd=1e3 * cost / len(rows),
        cached_usd=1e3 * (cost - spared * in_usd * (1 - CACHED)) / len(rows),
        seconds=seconds / len(rows),
    )


def with_threshold(single: Way, joint: Way, accept: float) -> Way:
    """Return what comes of asking alone whatever is less sure than `accept`."""
    alone = np.array([not c >= accept for c in joint.confidence])
    n = len(alone)
    cached_alone = single.cached_usd / single.cost_usd  # of one question's cost, about
    extra = np.where(alone, single.usd, 0.0)
    return replace(
        joint,
        accept=accept,
        right=tuple(np.where(alone, single.right, joint.right).tolist()),
        alone=float(alone.mean()),
        calls=joint.calls + int(alone.sum()),
        prompt_tokens=joint.prompt_tokens + float(alone.mean()) * single.prompt_tokens,
        cost_usd=joint.cost_usd + 1e3 * float(extra.sum()) / n,
        cached_usd=joint.cached_usd + 1e3 * float(extra.sum()) * cached_alone / n,
        seconds=joint.seconds + float(alone.mean()) * single.seconds,
    )


_preamble_tokens: dict[str, int] = {}


def preamble_tokens(before: str, shortest: int) -> int:
    """Return about how many tokens the preamble has: those of the shortest prompt, less its question."""
    return _preamble_tokens.setdefault(before, max(shortest - 20, 0))


def interval(ways: tuple[Way, Way], seed: int = 0) -> tuple[float, float, float]:
    """Return the mean paired difference in quality and its 95 % interval, by groups of eight."""
    d = np.array(ways[1].right, float) - np.array(ways[0].right, float)
    groups = np.array_split(d, math.ceil(len(d) / GROUP))
    sums = np.array([g.sum() for g in groups])
    sizes = np.array([len(g) for g in groups])
    draws = np.random.default_rng(seed).integers(0, len(groups), (BOOTSTRAPS, len(groups)))
    means = sums[draws].sum(axis=1) / sizes[draws].sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(d.mean()), float(low), float(high)


def engine_of(model: str, usd_per_million: float, client: object) -> tuple[Cascade, Counting]:
    """Return a ladder of one rung without a threshold of its own."""
    counting = Counting(client)
    price = Price(input=usd_per_million, output=usd_per_million)
    rung = Rung(model=model, provider="p", unknown="accept", price=price)
    ladder = Ladder(name="ask_many", rungs=(rung,))
    return Cascade(ladder, {"p": counting}, scorer=LogprobScorer()), counting


async def local(
    model: LocalModel, rows: Sequence[TrafficRow], before: str, structured: bool
) -> list[Way]:
    """Ask a local model every way."""
    await install(missing([RUNTIME]))
    file = await model_file(model, cache_folder())
    ways = []
    async with serve(file, name=model.name, context_tokens=4096) as server:
        with tempfile.TemporaryDirectory() as folder:
            ladder = Path(folder) / "ladder.yaml"
            await anyio.Path(ladder).write_text(
                f"version: 1\nproviders: {{p: {{kind: openai, base_url: '{server.base_url}'}}}}\n"
                f"ladder: [{{model: '{model.name}', provider: p}}]\n"
            )
            from cascade.build import ladder_settings
            from cascade.build_clients import provider_clients

            client = provider_clients(ladder_settings(ladder))["p"]
        engine, counting = engine_of(model.name, model.usd_per_million, client)
        async with engine:
            for per_call in WAYS:
                together = structured and per_call > 1
                ways.append(await ask_all(engine, counting, rows, before, per_call, together))
                tell(ways)
    for accept in THRESHOLDS:
        ways.append(with_threshold(ways[0], ways[2], accept))
        tell(ways)
    return ways


def tell(ways: Sequence[Way]) -> None:
    """Print the newest way as a line of the table."""
    first, newest = ways[0], ways[-1]
    d, low, high = interval((first, newest))
    paired = "" if newest is first else f"{100 * d:+5.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"
    name = f"{newest.per_call}{' schema' if newest.structured else ''}"
    name += "" if newest.accept is None else f", ≥{newest.accept:g}"
    print(
        f"{newest.model:20s} {name:>9s} {np.mean(newest.right):8.1%} {paired:>22s} "
        f"{newest.alone:7.1%} {newest.calls:6d} {newest.prompt_tokens:9.0f} "
        f"{newest.cost_usd:9.5f} {1 - newest.cost_usd / first.cost_usd:7.1%} "
        f"{newest.cached_usd:9.5f} {1 - newest.cached_usd / first.cached_usd:7.1%} "
        f"{newest.seconds:6.2f}",
        flush=True,
    )


async def smoke() -> list[Way]:
    """Run everything but a model: answers right, cost falls."""
    rows = [
        TrafficRow(prompt=f"{WORDS[i % 4]} headline {i}", responses=[], reference=WORDS[i % 4])
        for i in range(24)
    ]
    engine, counting = engine_of("made-up", 1.0, MadeUp())
    before = "Say the first word. " * 100
    ways: list[Way] = []
    async with engine:
        for per_call in WAYS:
            ways.append(await ask_all(engine, counting, rows, before, per_call, per_call == 8))
            tell(ways)
    ways.append(with_threshold(ways[0], ways[2], 0.9))
    tell(ways)
    assert ways[-1].calls == 24 + 6  # nothing is known of how sure this model is
    assert all(all(way.right) for way in ways)
    assert [way.calls for way in ways[:4]] == [24, 12, 6, 3]
    assert ways[0].cost_usd > ways[1].cost_usd > ways[2].cost_usd > ways[3].cost_usd
    return ways


def main(arguments: Sequence[str]) -> int:
    """Print the table and write out/ask_many.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, default=104)
    parser.add_argument("--models", default=MODELS[-1].name)
    parser.add_argument("--schema", action="store_true", help="hold joint replies to a schema")
    parser.add_argument("--smoke", action="store_true")
    given = parser.parse_args(arguments)
    reason = None if given.smoke else absent()
    if reason:
        print(reason)
        return 0
    print(
        f"{'model':20s} {'a call':>9s} {'right':>8s} {'paired, points':>22s} {'alone':>7s} {'calls':>6s} "
        f"{'tokens in':>9s} {'$/1,000':>9s} {'saved':>7s} {'cached':>9s} {'saved':>7s} {'s':>6s}"
    )
    if given.smoke:
        anyio.run(smoke)
        return 0
    rows = [row for row in TrafficLog(paths=[DATA / f"{LOG}.jsonl.gz"]) if row.split == "test"]
    rows = rows[: given.questions]
    before = preamble(rows[0])
    told = []
    for model in MODELS:
        if model.name in given.models.split(","):
            told += anyio.run(local, model, rows, before, given.schema)
    write_result("ask_many", {"log": LOG, "n": len(rows), "ways": [asdict(way) for way in told]})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
