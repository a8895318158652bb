"""Early accept and early reject on two real models, run here by llama.cpp, and judged by their tokens alone."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence

import anyio
import numpy as np

from benchmarks._shared import DATA
from benchmarks._stream_recorded import Run
from cascade import Cascade, Ladder, Price, Rung, StreamRule, TextDelta
from cascade.build import cache_folder
from cascade.clients.openai import OpenAIClient
from cascade.local.catalogue import MODELS, RUNTIME
from cascade.local.models import model_file
from cascade.local.packages import install, missing
from cascade.local.server import serve
from cascade.traffic_log import TrafficLog
from scorers import LogprobScorer
from scorers.prefix_scorer import LogprobPrefixScorer

__all__ = ["ACCEPT", "CHECKPOINTS", "HOLD", "MAX_TOKENS", "NAMES", "REJECT", "measure_local"]

NAMES = ("qwen2.5-coder-0.5b", "qwen2.5-coder-1.5b")
MAX_TOKENS = 160
HOLD, ACCEPT, REJECT = 0.85, 0.88, 0.80
"""Geometric means of token probabilities; fixed before anything was run."""
CHECKPOINTS = (16, 32, 64)
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


async def measure_local(questions: int) -> list[Run]:
    """Ask so many questions of grade-school mathematics each way; the models are fetched if need be."""
    await install(missing([RUNTIME]))
    found = {model.name: model for model in MODELS}
    files = [await model_file(found[name], cache_folder()) for name in NAMES]
    rows = [r for r in TrafficLog(paths=[DATA / "zeroeval_gsm8k.jsonl.gz"]) if r.split == "test"]
    asked = [(row.prompt, str(row.reference)) for row in rows[:questions]]
    early = StreamRule(mode="early", accept=ACCEPT, reject=REJECT, checkpoints=CHECKPOINTS)
    ways = {"ask": None, "hold": StreamRule(), "both": early}
    async with (
        serve(files[0], name=NAMES[0], context_tokens=2048) as small,
        serve(files[1], name=NAMES[1], context_tokens=2048) as large,
    ):
        urls = (small.base_url, large.base_url)
        await _run("warm-up", asked[:1], None, urls)
        return [await _run(name, asked, rule, urls) for name, rule in ways.items()]


async def _run(
    name: str, asked: Sequence[tuple[str, str]], rule: StreamRule | None, urls: tuple[str, str]
) -> Run:
    rungs = tuple(
        Rung(
            model=model,
            provider=model,
            accept=HOLD if i == 0 else None,
            max_tokens=MAX_TOKENS,
            price=Price(input=price, output=price),
        )
        for i, (model, price) in enumerate(zip(NAMES, (0.02, 0.10), strict=True))
    )
    engine = Cascade(
        Ladder(name="local", rungs=rungs),
        {model: OpenAIClient(model, url) for model, url in zip(NAMES, urls, strict=True)},
        scorer=LogprobScorer(),
        prefix_scorer=LogprobPrefixScorer(),
        gates=(),
        keep="last",
        stream_rules=[rule or StreamRule(), StreamRule()],
    )
    measured, modes = [], dict[str, int]()
    async with engine:
        for prompt, reference in asked:
            began, first_s = time.perf_counter(), 0.0
            if rule is None:
                result = await engine.ask(prompt, temperature=0.0)
            else:
                async with engine.stream(prompt, temperature=0.0) as events:
                    async for event in events:
                        if isinstance(event, TextDelta):
                            first_s = first_s or time.perf_counter() - began
                result = events.result
            total_s = time.perf_counter() - began
            attempt = result.attempts[0]
            mode = "ask" if attempt.streamed is None else attempt.streamed.mode
            modes[mode] = modes.get(mode, 0) + 1
            usage = attempt.streamed.usage if attempt.answer is None else attempt.answer.usage
            measured.append(
                (
                    first_s or total_s,
                    total_s,
                    float(_last_number(result.text) == _last_number(reference)),
                    float((usage.completion_tokens if usage else None) or 0),
                    result.cost_usd or float("nan"),
                )
            )
            await anyio.lowlevel.checkpoint()
    first, total, quality, tokens, cost = np.array(measured).T
    return Run(
        name=name,
        first_s=first,
        total_s=total,
        quality=quality,
        draft_tokens=tokens,
        cost_usd=cost,
        modes=modes,
    )


def _last_number(text: str) -> float | None:
    found = _NUMBER.findall(text)
    return float(found[-1].replace(",", "")) if found else None
