"""Few-shot selection with real models: the demo's local models answer a shared log plain and compressed."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import anyio
import numpy as np

from benchmarks._shared import DATA
from cascade import ModelCall, Request
from cascade.build import cache_folder, ladder_settings
from cascade.build_clients import provider_clients
from cascade.compress import Examples, Pipeline
from cascade.intake import make_request
from cascade.local.catalogue import MODELS, RUNTIME, LocalModel
from cascade.local.models import model_file
from cascade.local.packages import install, missing
from cascade.local.server import serve
from cascade.records import TrafficRow
from cascade.traffic_log import TrafficLog

__all__ = ["run"]

LOG = "local_headlines"
KEEP = (8, 4)
MAX_TOKENS = 8
BOOTSTRAPS = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way to send all questions to one model.

    Attributes:
        model: Who was asked.
        way: ``plain``, or how many examples were kept.
        right: For each question whether the answer was.
        prompt_tokens: Input tokens a question, as the model's server counts them.
        cost_usd: Of 1,000 questions, US dollars, every input token at full price.
        seconds: Wall seconds a question, on a machine with other work.
    """

    model: str
    way: str
    right: tuple[bool, ...]
    prompt_tokens: float
    cost_usd: float
    seconds: float


def run(questions: int, names: Sequence[str]) -> list[dict[str, Any]]:
    """Ask; print a table; return the rows."""
    rows = []
    for row in TrafficLog(paths=[DATA / f"{LOG}.jsonl.gz"]):
        if row.split == "test" and len(rows) < questions:
            rows.append(row)
    print(f"\n{LOG}: {len(rows)} questions of the test split, 22 examples as turns of a chat")
    print(
        "model                way         right  difference [95 %]        tokens    $/1,000   saved   s each"
    )
    found: list[Way] = []
    for name in names:
        model = next(m for m in MODELS if m.name.startswith(name))
        found += anyio.run(_ask_model, model, rows)
    return [asdict(way) for way in found]


async def _ask_model(model: LocalModel, rows: Sequence[TrafficRow]) -> list[Way]:
    await install(missing([RUNTIME]))
    file = await model_file(model, cache_folder())
    ways: list[Way] = []
    async with serve(file, name=model.name, context_tokens=4096) as server:
        with tempfile.TemporaryDirectory() as folder:
            ladder = Path(folder) / "ladder.yaml"
            await anyio.Path(ladder).write_text(
                f"version: 1\nproviders: {{p: {{kind: openai, base_url: '{server.base_url}'}}}}\n"
                f"ladder: [{{model: '{model.name}', provider: p}}]\n"
            )
            client = provider_clients(ladder_settings(ladder))["p"]
        try:
            for keep in (None, *KEEP):
                ways.append(await _ask(model, client, rows, keep))
                _tell(ways)
        finally:
            await client.aclose()
    return ways


async def _ask(model: LocalModel, client: Any, rows: Sequence[TrafficRow], keep: int | None) -> Way:
    pipeline = None if keep is None else Pipeline([Examples(keep=keep, whole=True)])
    right, tokens, spent = [], [], 0
    started = time.perf_counter()
    for row in rows:
        assert row.messages is not None
        request: Request = make_request(row.messages, temperature=0.0, max_tokens=MAX_TOKENS)
        if pipeline is not None:
            request = pipeline.compress(request).request
        answer = await client.complete(ModelCall(model=model.name, request=request, logprobs=False))
        tokens.append(answer.usage.prompt_tokens or 0)
        spent += tokens[-1] + (answer.usage.completion_tokens or 0)
        said = (answer.text or "").strip().strip("\"'.").split()
        right.append(
            bool(said) and said[0].strip(".,\"'").casefold() == str(row.reference).casefold()
        )
    return Way(
        model=model.name,
        way="plain" if keep is None else f"{keep} examples",
        right=tuple(right),
        prompt_tokens=float(np.mean(tokens)),
        cost_usd=1e3 * spent * model.usd_per_million / 1e6 / len(rows),
        seconds=(time.perf_counter() - started) / len(rows),
    )


def _tell(ways: Sequence[Way]) -> None:
    first, newest = ways[0], ways[-1]
    paired = ""
    if newest is not first:
        d = np.array(newest.right, float) - np.array(first.right, float)
        draws = np.random.default_rng(0).integers(0, len(d), (BOOTSTRAPS, len(d)))
        low, high = np.quantile(d[draws].mean(axis=1), [0.025, 0.975])
        paired = f"{100 * d.mean():+5.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"
    print(
        f"{newest.model:20s} {newest.way:11s} {np.mean(newest.right):6.1%} {paired:>22s} "
        f"{newest.prompt_tokens:9.0f} {newest.cost_usd:10.5f} "
        f"{1 - newest.cost_usd / first.cost_usd:7.1%} {newest.seconds:8.2f}",
        flush=True,
    )
