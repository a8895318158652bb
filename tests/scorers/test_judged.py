"""Confidence by asking: what is asked, how replies are read, and what it costs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from cascade.errors import ServerFailed
from cascade.intake import make_request
from cascade.ports import Scorer
from cascade.testing import ScriptedClient
from cascade.types import Answer, Attempt, Request, TokenLogprobs, Usage
from scorers.judged import JudgedScorer, SelfCheckScorer, verdict

pytestmark = pytest.mark.anyio


def tries(text: str | None = "4", rung: int = 0) -> list[Attempt]:
    """One answer."""
    answer = None if text is None else Answer(text=text, model="small")
    return [
        Attempt(
            rung=rung, model="small", provider="p", verdict="escalated", reason="", answer=answer
        )
    ]


def reply(text: str, *logprobs: float, tokens: Sequence[str] = ()) -> Answer:
    """A verdict with the usage of one call."""
    return Answer(
        text=text,
        model="judge",
        usage=Usage(prompt_tokens=100, completion_tokens=2),
        logprobs=TokenLogprobs(tokens=tokens or [text], logprobs=logprobs) if logprobs else None,
    )


def cost(usage: Usage) -> float | None:
    """A hundredth of a dollar a token."""
    if usage.prompt_tokens is None or usage.completion_tokens is None:
        return None
    return (usage.prompt_tokens + usage.completion_tokens) / 100


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (reply("Yes"), (1.0, False)),
        (reply("no."), (0.0, False)),
        (reply("**True**"), (1.0, False)),
        (reply("Yes", math.log(0.8)), (0.8, True)),
        (reply("No", math.log(0.9)), (0.1, True)),
        (reply(" Yes.", -9.0, math.log(0.7), tokens=[" ", "Yes"]), (0.7, True)),
        (reply("85"), (0.85, False)),
        (reply("42.5 %"), (0.425, False)),
        (reply("90/100"), (0.9, False)),
        (reply("850"), (None, False)),
        (reply("2 of the steps are wrong"), (None, False)),
        (reply("Nothing is certain"), (None, False)),
        (reply(""), (None, False)),
    ],
    ids=lambda value: repr(value.text) if isinstance(value, Answer) else "",
)
def test_replies_are_read(answer: Answer, expected: tuple[float | None, bool]) -> None:
    """A word by its log-probability, else as 1 or 0; a number as its hundredth; the rest not at all."""
    p, by_logprob = verdict(answer)
    assert by_logprob == expected[1]
    assert p == (None if expected[0] is None else pytest.approx(expected[0]))


async def test_a_judge_is_asked_and_paid() -> None:
    """It sees question and answer; its cost is part of the score."""
    client = ScriptedClient({"judge": [reply("Yes", math.log(0.75))]})
    scorer = JudgedScorer(client, "judge", cost)
    score = await scorer.score(make_request("2 + 2? {answer}"), tries("four"))
    assert score.confidence == pytest.approx(0.75)
    assert score.cost_usd == pytest.approx(1.02)
    asked = client.calls[0].request
    assert "2 + 2? {answer}" in asked.prompt
    assert "\nfour\n" in asked.prompt
    assert asked.temperature == 0.0
    assert isinstance(scorer, Scorer)
    assert scorer.version == "judge/judge/1"


async def test_the_prompt_can_be_ones_own() -> None:
    """Both places are filled in."""
    client = ScriptedClient({"judge": [reply("70")]})
    scorer = JudgedScorer(client, "judge", cost, prompt="Grade {answer} to {question}, 0-100.")
    score = await scorer.score(make_request("why"), tries("because"))
    assert client.calls[0].request.prompt == "Grade because to why, 0-100."
    assert score.confidence == pytest.approx(0.7)


async def test_a_judge_that_fails_leaves_the_confidence_unknown() -> None:
    """The ask goes on; the reason is told."""
    failure = ServerFailed("500", provider="p", model="judge")
    scorer = JudgedScorer(ScriptedClient({"judge": [failure]}), "judge", cost)
    score = await scorer.score(make_request("x"), tries())
    assert score.confidence is None
    assert score.why_unknown is not None
    assert "the judge did not reply: ServerFailed" in score.why_unknown


async def test_nonsense_is_paid_for_and_unknown() -> None:
    """A reply that is no verdict costs all the same."""
    scorer = JudgedScorer(ScriptedClient({"judge": [reply("Well...")]}), "judge", cost)
    score = await scorer.score(make_request("x"), tries())
    assert (score.confidence, score.why_unknown) == (None, "the judge said neither Yes nor No")
    assert score.cost_usd == pytest.approx(1.02)


@pytest.mark.parametrize("attempts", [[], tries(None), tries("")], ids=["none", "failed", "empty"])
async def test_without_text_nobody_is_asked(attempts: list[Attempt]) -> None:
    """No call, no cost."""
    client = ScriptedClient({"judge": [reply("Yes")]})
    score = await JudgedScorer(client, "judge", cost).score(make_request("x"), attempts)
    assert score.confidence is None
    assert score.cost_usd == 0.0
    assert client.calls == []


async def test_each_rung_checks_itself() -> None:
    """By its own client, model and price; P(Yes) needs the log-probability."""
    first = ScriptedClient({"small": [reply("Yes", math.log(0.6))]})
    second = ScriptedClient({"large": [reply("Yes")]})
    scorer = SelfCheckScorer([(first, "small", cost, {"top_k": 1}), (second, "large", cost, {})])
    request: Request = make_request("2 + 2?")
    own = await scorer.score(request, tries())
    assert own.confidence == pytest.approx(0.6)
    assert first.calls[0].extra == {"top_k": 1}
    without = await scorer.score(request, tries(rung=1))
    assert without.confidence is None
    assert without.why_unknown == "the self-check came without log-probabilities"
    assert without.cost_usd == pytest.approx(1.02)


async def test_a_whole_chat_is_shown() -> None:
    """More than the last message where there is more."""
    client = ScriptedClient({"judge": [reply("Yes")]})
    chat = make_request(
        [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    )
    await JudgedScorer(client, "judge", cost).score(chat, tries())
    assert "system: Be brief." in client.calls[0].request.prompt
