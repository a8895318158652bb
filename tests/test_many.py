"""`ask_many`: questions together, those that do not come back well alone, costs and failures."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import anyio
import pytest

from cascade import (
    Answer,
    BudgetExceeded,
    Cascade,
    ContentRefused,
    ContextTooLong,
    DeadlineExceeded,
    EngineClosed,
    Ladder,
    OneOfMany,
    Price,
    RequestError,
    Rung,
    ServerFailed,
    TokenLogprobs,
    Usage,
)
from cascade.rules import NotEmpty, RegexGate
from cascade.sync import Cascade as SyncCascade
from cascade.testing import ListSink
from cascade.together import Together
from cascade.types import Attempt, ModelCall, Request, Score
from scorers import LogprobScorer

pytestmark = pytest.mark.anyio


class Model:
    """Says of each question its last word, in numbered JSON where several are asked.

    Args:
        wrong: Questions that it leaves out of a reply to several.
        unsure: Questions whose tokens have a probability of 0.1 each, unless asked alone.
        refuses: A question that makes it refuse the whole call.
        refuses_alone: A question that it refuses only when it is asked alone.
        delay_s: How long a call takes.
    """

    def __init__(
        self,
        *,
        wrong: Sequence[str] = (),
        unsure: Sequence[str] = (),
        refuses: str | None = None,
        refuses_alone: str | None = None,
        error: Exception | None = None,
        delay_s: float = 0.0,
    ) -> None:
        self.calls: list[ModelCall] = []
        self._wrong, self._unsure, self._refuses = wrong, unsure, refuses
        self._alone = refuses_alone
        self._error, self._delay_s = error, delay_s

    async def complete(self, call: ModelCall) -> Answer:
        self.calls.append(call)
        await anyio.sleep(self._delay_s)
        asked = call.request.messages[-1]
        questions = (
            [one.prompt for one in asked.alone]
            if isinstance(asked, Together)
            else [call.request.prompt]
        )
        if self._error is not None and isinstance(asked, Together):
            raise self._error
        if self._refuses in questions or [self._alone] == questions:
            raise ContentRefused("refused", provider="p", model=call.model, status=400)
        pieces = []
        for n, question in enumerate(questions, 1):
            said = question.split()[-1]
            if len(questions) == 1:
                pieces.append((said, -0.01))
            elif question not in self._wrong:
                pieces += [
                    (f'{"," if pieces else "{"}"{n}": "', 0.0),
                    (said, math.log(0.1) if question in self._unsure else -0.01),
                    ('"', 0.0),
                ]
        if len(questions) > 1:
            pieces.append(("}", 0.0))
        tokens, logprobs = [p[0] for p in pieces], [p[1] for p in pieces]
        return Answer(
            text="".join(tokens),
            model=call.model,
            finish_reason="stop",
            usage=Usage(prompt_tokens=100 + 7 * len(questions), completion_tokens=3),
            logprobs=TokenLogprobs(tokens=tokens, logprobs=logprobs),
        )

    async def aclose(self) -> None:
        pass


def engine(model: Model, **options: Any) -> tuple[Cascade, ListSink]:
    ladder = Ladder(
        name="test",
        rungs=(
            Rung(model="small", provider="p", accept=0.8, price=Price(input=0.3, output=0.7)),
            Rung(model="large", provider="p", price=Price(input=3.3, output=7.7)),
        ),
    )
    sink = ListSink()
    options = {"scorer": LogprobScorer(), "sink": sink} | options
    return Cascade(ladder, {"p": model}, **options), sink


def paid(sink: ListSink) -> float:
    return math.fsum(record["cost_usd"] for record in sink.records)


def charged(results: Sequence[OneOfMany]) -> float:
    return math.fsum(r.cost_usd for r in results if r.cost_usd is not None)


QUESTIONS = [f"say w{n}" for n in range(1, 8)]


async def test_each_question_gets_its_own_answer_in_order() -> None:
    """Seven questions, three a call at most: three calls of even size."""
    model = Model()
    ladder, sink = engine(model)
    async with ladder:
        results = await ladder.ask_many(QUESTIONS, preamble="Say it.", per_call=3)
    assert [r.text for r in results] == [f"w{n}" for n in range(1, 8)]
    assert [r.question for r in results] == QUESTIONS
    assert sorted(r.together for r in results) == [2, 2, 2, 2, 3, 3, 3]
    assert len(model.calls) == 3
    assert all(c.request.messages[0].content == "Say it." for c in model.calls)
    assert charged(results) == pytest.approx(paid(sink), rel=1e-15)


async def test_by_default_every_question_is_asked_alone() -> None:
    """Putting together is a caller's or a ladder's decision."""
    model = Model()
    ladder, _ = engine(model)
    async with ladder:
        results = await ladder.ask_many(QUESTIONS)
    assert len(model.calls) == 7
    assert {r.together for r in results} == {1}
    assert {r.share_usd for r in results} == {0.0}


async def test_the_shares_of_a_call_add_up_to_its_cost_to_the_last_bit() -> None:
    """In any order, without rounding."""
    ladder, sink = engine(Model())
    async with ladder:
        results = await ladder.ask_many(QUESTIONS, per_call=7)
    assert sum(r.share_usd or 0.0 for r in reversed(results)) == sink.records[0]["cost_usd"]
    assert all(r.attempts[0].cost_usd == r.share_usd for r in results)


async def test_what_cannot_be_read_is_asked_alone_and_pays_for_both() -> None:
    """The others keep their answers."""
    model = Model(wrong=[QUESTIONS[1]])
    ladder, sink = engine(model)
    async with ladder:
        results = await ladder.ask_many(QUESTIONS[:3], per_call=3)
    assert [r.text for r in results] == ["w1", "w2", "w3"]
    assert [r.why_alone for r in results] == [None, "the reply has no answer to it", None]
    assert len(model.calls) == 2
    assert (results[1].cost_usd or 0) > (results[1].share_usd or 0) > 0
    assert len(results[1].ask_ids) == 2
    assert charged(results) == pytest.approx(paid(sink), rel=1e-15)


async def test_an_answer_is_as_sure_as_its_own_tokens_and_an_unsure_one_is_asked_alone() -> None:
    """Its confidence is then that of the answer alone."""
    ladder, sink = engine(Model(unsure=[QUESTIONS[0]]))
    async with ladder:
        first, second = await ladder.ask_many(QUESTIONS[:2], per_call=2)
    assert second.confidence == pytest.approx(0.99, abs=0.001)
    assert second.why_alone is None
    assert first.why_alone == "confidence 0.10 < 0.80"
    assert first.confidence == pytest.approx(0.99, abs=0.001)
    measures = sink.records[0]["attempts"][0]["measures"]
    assert measures == {"1": pytest.approx(0.1), "2": pytest.approx(0.99, abs=0.001)}


class Judge:
    """A scorer that costs money and reads no tokens."""

    version = "judge"

    def __init__(self) -> None:
        self.asked: list[tuple[str, str | None]] = []

    async def score(self, request: Request, attempts: Sequence[Attempt]) -> Score:
        answer = attempts[-1].answer
        assert answer is not None
        self.asked.append((request.prompt, answer.text))
        return Score(confidence=0.9, cost_usd=0.001)


async def test_a_judge_sees_each_answer_with_its_own_question_and_is_paid_for() -> None:
    """Never the whole reply."""
    judge = Judge()
    ladder, sink = engine(Model(), scorer=judge)
    async with ladder:
        results = await ladder.ask_many(QUESTIONS[:2], per_call=2)
    assert judge.asked == [("say w1", "w1"), ("say w2", "w2")]
    assert [r.confidence for r in results] == [0.9, 0.9]
    assert paid(sink) > 0.002
    assert charged(results) == paid(sink)


async def test_without_a_scorer_the_confidence_is_unknown_and_the_rung_says_what_then() -> None:
    """`unknown: escalate` asks alone, and says so."""
    ladder, _ = engine(Model(), scorer=None)
    async with ladder:
        first, _ = await ladder.ask_many(QUESTIONS[:2], per_call=2)
    assert first.why_alone == "confidence unknown (no scorer), not accepted"
    assert first.model == "large"


async def test_gates_hold_each_answer_and_never_the_whole_reply() -> None:
    """One that fails is asked alone."""
    gates = [NotEmpty(), RegexGate(pattern=re.compile(r"^w[13]$|^alone$"))]
    ladder, _ = engine(Model(), gates=gates)
    async with ladder:
        results = await ladder.ask_many(["say w1", "say w2", "say w3"], per_call=3)
    assert [r.why_alone for r in results] == [None, "failed gate regex", None]


async def test_a_bad_question_does_not_lose_the_others() -> None:
    """What cannot be sent has its error in its place."""
    ladder, _ = engine(Model())
    async with ladder:
        questions: list[Any] = ["say w1", "", "say w3", 4, "say \ud800"]
        results = await ladder.ask_many(questions, per_call=4)
    assert [r.text for r in results] == ["w1", "", "w3", "", ""]
    assert [type(r.error) for r in results if r.error] == [RequestError] * 3
    assert str(results[1].error) == "questions[1]: messages[0].content: empty; give some text"
    assert str(results[3].error) == "questions[3]: int given; allowed: text"
    assert results[1].cost_usd == 0.0


async def test_a_question_the_provider_refuses_is_alone_in_that() -> None:
    """The call it spoiled is asked again one by one."""
    ladder, _ = engine(Model(refuses="say w2"))
    async with ladder:
        results = await ladder.ask_many(QUESTIONS[:3], per_call=3)
    assert [r.text for r in results] == ["w1", "", "w3"]
    assert results[1].error is not None
    assert results[0].why_alone == "asked together it failed: AllRungsFailed"


@pytest.mark.parametrize(
    ("error", "calls"),
    [(ContextTooLong, 2 + 3), (ServerFailed, 2)],
    ids=["too long", "provider down"],
)
async def test_only_what_fewer_questions_may_mend_is_asked_alone(
    error: type[ContextTooLong] | type[ServerFailed], calls: int
) -> None:
    """A provider that is down is not asked once a question."""
    model = Model(error=error("no", provider="p", model="m", status=500))
    ladder, _ = engine(model)
    async with ladder:
        results = await ladder.ask_many(QUESTIONS[:3], per_call=3)
    assert len(model.calls) == calls
    assert all((r.error is None) == (error is ContextTooLong) for r in results)


async def test_money_is_for_all_together_and_calls_then_go_one_by_one() -> None:
    """What no money is left for says so; what was paid for is kept."""
    model = Model()
    ladder, sink = engine(model)
    async with ladder:
        results = await ladder.ask_many(QUESTIONS, per_call=1, max_cost_usd=0.0001)
    done = [r for r in results if r.error is None]
    assert 0 < len(done) < 7
    assert all(isinstance(r.error, BudgetExceeded) for r in results if r not in done)
    assert paid(sink) < 0.0001 + 0.00004


async def test_tokens_are_for_all_together() -> None:
    """As the provider counts them."""
    ladder, _ = engine(Model())
    async with ladder:
        results = await ladder.ask_many(QUESTIONS, per_call=1, max_total_tokens=250)
    assert [r.error is None for r in results] == [True, True, True, False, False, False, False]


async def test_time_is_for_all_together_and_what_was_answered_is_kept() -> None:
    """Two at once, each a while: the later ones find no time."""
    ladder, _ = engine(Model(delay_s=0.4))
    async with ladder:
        results = await ladder.ask_many(QUESTIONS, at_once=2, deadline_s=1.0)
    assert 2 <= sum(r.error is None for r in results) < 7
    late = [r.error for r in results if r.error is not None]
    assert all(isinstance(error, DeadlineExceeded) for error in late)


async def test_at_most_so_many_calls_are_in_flight() -> None:
    """And all of them come."""
    flying = most = 0

    class Counting(Model):
        async def complete(self, call: ModelCall) -> Answer:
            nonlocal flying, most
            flying += 1
            most = max(most, flying)
            try:
                return await super().complete(call)
            finally:
                flying -= 1

    ladder, _ = engine(Counting(delay_s=0.01))
    async with ladder:
        results = await ladder.ask_many([f"say {n}" for n in range(30)], at_once=3)
    assert [r.text for r in results] == [str(n) for n in range(30)]
    assert most == 3


async def test_a_cancelled_one_leaves_its_calls_in_the_log() -> None:
    """As cancelled, with the questions they were about."""
    ladder, sink = engine(Model(delay_s=10))
    async with ladder:
        with anyio.move_on_after(0.05):
            await ladder.ask_many(QUESTIONS[:4], per_call=2)
    assert [r["outcome"] for r in sink.records] == ["cancelled", "cancelled"]
    assert all(len(r["metadata"]["ask_many"]["questions"]) == 2 for r in sink.records)


async def test_the_log_says_which_questions_a_call_was_about() -> None:
    """By the ids of the results, beside the caller's own metadata."""
    ladder, sink = engine(Model(wrong=["say w2"]))
    async with ladder:
        results = await ladder.ask_many(QUESTIONS[:2], per_call=2, metadata={"job": 7})
    ids = [r.id for r in results]
    abouts = [record["metadata"]["ask_many"]["questions"] for record in sink.records]
    assert abouts == [ids, [ids[1]]]
    assert all(record["metadata"]["job"] == 7 for record in sink.records)
    assert results[1].ask_ids == tuple(record["id"] for record in sink.records)
    assert sink.records[0]["policy"] == "together/thresholds/1"


async def test_options_of_an_answer_reach_the_call_and_its_limit_grows() -> None:
    """`max_tokens` is for one answer."""
    model = Model(wrong=["say w2"])
    ladder, _ = engine(model)
    async with ladder:
        await ladder.ask_many(QUESTIONS[:2], per_call=2, max_tokens=10, temperature=0.0, top_p=0.5)
    joint, alone = model.calls[0].request, model.calls[-1].request
    assert (joint.max_tokens or 0) >= 20
    assert alone.max_tokens == 10
    assert (joint.temperature, joint.extra) == (0.0, {"top_p": 0.5})


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"per_call": 0}, "per_call: 0 given; allowed: a whole number from 1 to 64"),
        ({"per_call": 65}, "per_call: 65 given; allowed: a whole number from 1 to 64"),
        ({"at_once": 0}, "at_once: 0 given; allowed: a whole number >= 1"),
        ({"per_call": 2, "stop": "x"}, "stop: cannot be used with several questions in a call"),
        ({"per_call": 2, "tools": []}, "tools: cannot be used with several questions in a call"),
        ({"temperature": -1}, "temperature"),
        ({"deadline_s": -1}, "deadline_s"),
        ({"preamble": 3}, "preamble: prompt: int given"),
        ({"metadata": 7}, "metadata: int given; allowed: a mapping or None"),
        ({"metadata": {"ask_many": 1}}, "metadata['ask_many']: given"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_a_bad_option_is_refused_before_anything_is_spent(
    options: dict[str, Any], told: str
) -> None:
    """With what is allowed."""
    model = Model()
    ladder, _ = engine(model)
    async with ladder:
        with pytest.raises(RequestError) as caught:
            await ladder.ask_many(QUESTIONS, **options)
    assert told in str(caught.value)
    assert model.calls == []


async def test_one_text_instead_of_a_list_is_refused() -> None:
    """Its characters are no questions."""
    ladder, _ = engine(Model())
    async with ladder:
        with pytest.raises(RequestError, match="questions: str given; allowed: a list of texts"):
            await ladder.ask_many("What?")
        assert await ladder.ask_many([]) == []
        with pytest.raises(RequestError, match=r"questions\[0\]"):
            await ladder.ask_many(["", " "])
    with pytest.raises(EngineClosed):
        await ladder.ask_many(QUESTIONS)


async def test_a_demanded_confidence_holds_for_each_answer() -> None:
    """One below it goes through the whole ladder."""
    ladder, _ = engine(Model(unsure=["say w1"]))
    async with ladder:
        results = await ladder.ask_many(QUESTIONS[:2], per_call=2, min_confidence=0.95)
    assert [r.why_alone is None for r in results] == [False, True]


async def test_an_unsure_answer_is_better_than_none_when_asking_alone_fails() -> None:
    """It says what it is."""
    ladder, _ = engine(Model(unsure=["say w1"], refuses_alone="say w1"))
    async with ladder:
        first, second = await ladder.ask_many(QUESTIONS[:2], per_call=2)
    assert (first.text, first.error) == ("w1", None)
    assert first.degraded == "confidence 0.10 < 0.80; asked alone it failed: AllRungsFailed"
    assert first.confidence == pytest.approx(0.1)
    assert len(first.ask_ids) == 2
    assert second.degraded is None


async def test_the_only_rung_is_asked_again_alone_where_it_missed_its_threshold() -> None:
    """Without a threshold its answers stay."""
    for accept, alone in ((0.8, True), (None, False)):
        rung = Rung(model="small", provider="p", accept=accept, price=Price(input=1, output=1))
        model = Model(unsure=["say w1"])
        one = Cascade(Ladder(name="one", rungs=(rung,)), {"p": model}, scorer=LogprobScorer())
        async with one:
            results = await one.ask_many(QUESTIONS[:2], per_call=2)
        assert (results[0].why_alone is not None) is alone
        assert results[1].why_alone is None


def test_a_blocking_engine_has_it_too() -> None:
    """With the default from the ladder file."""
    model = Model()
    inner, _ = engine(model, per_call=4)
    with SyncCascade(inner) as ladder:
        results = ladder.ask_many(QUESTIONS[:4])
    assert [r.text for r in results] == ["w1", "w2", "w3", "w4"]
    assert len(model.calls) == 1
