"""Scorers named in a ladder file: judges, self-checks and those of installed packages."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from cascade import Attempt, Cascade, LadderError, Request, Score
from cascade.build import check_file

pytestmark = pytest.mark.anyio

LADDER = """
providers:
  cheap: {kind: openai, base_url: "http://cheap.test/v1"}
  court: {kind: openai, base_url: "http://court.test/v1"}
ladder:
  - {model: small, provider: cheap, accept: 0.7, price: {input: 1, output: 1}}
  - {model: large, provider: cheap, price: {input: 10, output: 10}}
"""


class Steady:
    """A scorer that a package might offer."""

    version = "steady/1"

    def __init__(self, confidence: float = 0.9) -> None:
        self.confidence = confidence

    async def score(self, request: Request, attempts: Sequence[Attempt]) -> Score:
        return Score(confidence=self.confidence)


def ladder(folder: Path, scorer: str) -> Path:
    """Write a ladder with this scorer."""
    file = folder / "ladder.yaml"
    file.write_text(LADDER + f"scorer: {scorer}\n")
    return file


def upstream(verdict: str, p: float) -> tuple[httpx.MockTransport, list[dict[str, Any]]]:
    """Answer questions with 4, and questions about answers with a verdict of this probability."""
    seen: list[dict[str, Any]] = []

    def handle(request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        seen.append(body | {"host": request.url.host})
        judged = "Is the" in body["messages"][0]["content"]
        text = verdict if judged else "4"
        token = {"token": text, "logprob": math.log(p), "top_logprobs": []}
        return httpx.Response(
            200,
            json={
                "model": body["model"],
                "choices": [
                    {
                        "message": {"role": "assistant", "content": text},
                        "finish_reason": "stop",
                        "logprobs": {"content": [token]},
                    }
                ],
                "usage": {"prompt_tokens": 1_000, "completion_tokens": 1},
            },
        )

    return httpx.MockTransport(handle), seen


async def test_a_judge_of_another_provider_is_asked_and_paid(tmp_path: Path) -> None:
    """Its call is part of what the answer cost."""
    price = "{input: 3, output: 3}"
    file = ladder(tmp_path, f"{{kind: judge, model: sage, provider: court, price: {price}}}")
    transport, seen = upstream("Yes", 0.8)
    async with Cascade.from_yaml(file, http=transport) as cascade:
        answer = await cascade.ask("2 + 2?")
    assert (answer.rung, answer.confidence) == (0, pytest.approx(0.8))
    assert [body["host"] for body in seen] == ["cheap.test", "court.test"]
    assert seen[1]["model"] == "sage"
    assert answer.cost_usd == pytest.approx(1_001e-6 + 3 * 1_001e-6)


async def test_a_model_that_doubts_itself_is_left(tmp_path: Path) -> None:
    """P(True) through the rung's own provider, at the rung's price."""
    transport, seen = upstream("No", 0.9)
    async with Cascade.from_yaml(ladder(tmp_path, "{kind: p_true}"), http=transport) as cascade:
        answer = await cascade.ask("2 + 2?")
    assert [body["model"] for body in seen] == ["small", "small", "large", "large"]
    assert answer.attempts[0].confidence == pytest.approx(0.1)
    assert answer.cost_usd == pytest.approx(2 * 1_001e-6 * (1 + 10))


async def test_a_package_offers_a_scorer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the name of its entry point, with options."""
    installed = tmp_path / "site" / "mine-1.0.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text(
        "[cascade.scorers]\nsteady = tests.test_build_scorers:Steady\n"
    )
    monkeypatch.syspath_prepend(str(installed.parent))
    file = ladder(tmp_path, "{kind: plugin, name: steady, options: {confidence: 0.75}}")
    transport, _ = upstream("Yes", 0.5)
    async with Cascade.from_yaml(file, http=transport) as cascade:
        answer = await cascade.ask("2 + 2?")
    assert answer.confidence == 0.75
    with pytest.raises(LadderError, match=r"scorer\.name: .*'other'.*allowed: steady"):
        check_file(ladder(tmp_path, "{kind: plugin, name: other}"))
    with pytest.raises(LadderError, match=r"scorer\.options: .* cannot be made"):
        check_file(ladder(tmp_path, "{kind: plugin, name: steady, options: {x: 1}}"))


@pytest.mark.parametrize(
    ("scorer", "said"),
    [
        ("{kind: judge, model: sage, provider: curt}", r"scorer\.provider: .*did you mean 'court'"),
        ("{kind: judge, model: sage}", r"scorer\.provider: is missing"),
        (
            '{kind: judge, model: sage, provider: court, prompt: "Is {answer} right?"}',
            r"scorer\.prompt: .* has no \{question\} in it",
        ),
        ("{kind: trained}", r"scorer\.path: is missing"),
        ("{kind: p_tru}", "did you mean 'p_true'"),
    ],
)
def test_mistakes_are_told_with_their_place(tmp_path: Path, scorer: str, said: str) -> None:
    """Key path, what is wrong, what is allowed."""
    with pytest.raises(LadderError, match=said):
        check_file(ladder(tmp_path, scorer))


def test_a_self_check_needs_log_probabilities(tmp_path: Path) -> None:
    """A provider that gives none makes thresholds senseless."""
    file = tmp_path / "ladder.yaml"
    file.write_text(
        LADDER.replace('cheap.test/v1"', 'cheap.test/v1", logprobs: false')
        + "scorer: {kind: p_true}\n"
    )
    with pytest.raises(LadderError, match=r"the `p_true` scorer needs log-probabilities"):
        check_file(file)
