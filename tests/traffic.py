"""Made-up logs of models that add numbers: small enough to train on within a test."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from cascade.records import Response, TrafficRow, decode_row
from cascade.types import Answer, Attempt, Message, Request, TokenLogprobs, Usage

SKILL = {"tiny": 60, "small": 120, "large": 180}
"""Sums up to which each model is mostly right."""
PRICE = {"tiny": 0.00001, "small": 0.0001, "large": 0.001}


def rows(
    n: int,
    models: Sequence[str] = ("small", "large"),
    *,
    seed: int = 0,
    text: bool = True,
    split: str = "",
    start: int = 0,
) -> list[TrafficRow]:
    """Return rows whose answers are right or wrong in a way that their text and log-probabilities show."""
    rng = random.Random(seed)
    made = []
    for i in range(start, start + n):
        a, b = rng.randint(1, 99), rng.randint(1, 99)
        responses = []
        for model in models:
            right = rng.random() < (0.95 if a + b <= SKILL[model] else 0.15)
            said = a + b if right else a + b + rng.choice((-10, 1, 10))
            unsure = rng.random() < (0.1 if right else 0.7)
            answer = f"{a} + {b} = {said}. The answer is {said}."
            if unsure:
                answer = f"Not sure, maybe {said}."
            low = -rng.uniform(0.5, 2.0) if unsure else -rng.uniform(0.0, 0.4)
            responses.append(
                Response(
                    model=model,
                    text=answer if text else None,
                    score=float(right),
                    prompt_tokens=10,
                    completion_tokens=8 + len(answer) // 8,
                    logprobs=[-0.1, low, -0.05] if text else None,
                    top_logprobs=[[-0.1, -2.5], [low, -1.5], [-0.05, -3.0]] if text else None,
                    latency_s=0.5,
                    finish_reason="stop",
                    cost_usd=PRICE[model],
                )
            )
        made.append(
            TrafficRow(
                id=f"q{i}",
                prompt=f"What is {a} plus {b}? Question {i} of the {_word(i)} sheet.",
                responses=responses,
                split=split,
            )
        )
    return made


def _word(i: int) -> str:
    return ("red", "green", "blue", "grey", "white", "black", "brown")[i % 7] + "ABCDEFG"[
        i // 7 % 7
    ]


def write(path: Path, made: Sequence[TrafficRow | dict[str, Any]]) -> Path:
    """Write a traffic log."""
    path.write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in made))
    return path


def as_read(row: TrafficRow) -> TrafficRow:
    """Return the row as a log would bring it."""
    return decode_row(msgspec.json.encode(row))


def request(row: TrafficRow) -> Request:
    """Return a row's prompt as it is asked live."""
    return Request(messages=(Message(role="user", content=row.prompt),))


def attempt(rung: int, response: Response, **changed: Any) -> Attempt:
    """Return a row's answer as the engine would have it."""
    logprobs = None
    if response.logprobs:
        logprobs = TokenLogprobs(
            tokens=[""] * len(response.logprobs),
            logprobs=response.logprobs,
            top=response.top_logprobs,
        )
    answer = Answer(
        text=response.text,
        model=response.model,
        finish_reason=response.finish_reason,
        usage=Usage(
            prompt_tokens=response.prompt_tokens, completion_tokens=response.completion_tokens
        ),
        logprobs=logprobs,
    )
    fields: dict[str, Any] = {
        "rung": rung,
        "model": response.model,
        "provider": "p",
        "verdict": "escalated",
        "reason": "",
        "answer": answer,
    }
    return Attempt(**(fields | changed))
