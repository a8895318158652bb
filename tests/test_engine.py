"""The engine drives the walk: answers, attempts, costs, errors, records."""

from __future__ import annotations

import math
import pickle
from collections.abc import Mapping, Sequence
from typing import Any

import anyio
import pytest

from cascade import (
    AllRungsFailed,
    Attempt,
    BadResponse,
    BudgetExceeded,
    Cascade,
    CircuitOpen,
    ConfigError,
    ConnectFailed,
    ContextTooLong,
    DeadlineExceeded,
    Decision,
    EngineClosed,
    Ladder,
    LadderError,
    Price,
    ProviderError,
    ProviderTimeout,
    RateLimited,
    Request,
    RequestError,
    Rung,
    Score,
    ServerFailed,
    State,
)
from cascade.rules import CallableGate
from cascade.testing import ListSink, ScriptedClient, ScriptedScorer, reply
from cascade.types import Answer, ModelCall

from .ladders import engine, two_rungs

pytestmark = pytest.mark.anyio

BUSY = RateLimited("status 429", provider="p", model="small", status=429, retry_after_s=2.0)
DOWN = ServerFailed("status 500", provider="p", model="large", status=500)


async def test_a_sure_cheap_answer_is_kept() -> None:
    """The dear rung is not called when the cheap one is sure enough."""
    ladder, client, _ = engine(reply("Iron.", confidence=0.9))
    async with ladder:
        result = await ladder.ask("Which?")
    assert (result.text, result.model, result.confidence) == ("Iron.", "small", 0.9)
    assert [call.model for call in client.calls] == ["small"]


async def test_an_unsure_answer_escalates_and_both_are_paid() -> None:
    """The rejected attempt counts in the cost, and its reason is told."""
    ladder, _, _ = engine(reply("?", confidence=0.3), reply("Lead.", confidence=0.7))
    async with ladder:
        result = await ladder.ask("Which?")
    assert (result.text, result.rung) == ("Lead.", 1)
    assert [a.verdict for a in result.attempts] == ["escalated", "accepted"]
    assert result.attempts[0].reason == "confidence 0.30 < 0.80"
    assert result.cost_usd == pytest.approx(15e-6 + 150e-6)
    assert result.saving_usd_estimate == pytest.approx(-15e-6)


async def test_the_best_answer_tried_is_returned_not_the_last() -> None:
    """A dear answer that is less sure than the cheap one does not replace it."""
    ladder, _, _ = engine(reply("A", confidence=0.7), reply("B", confidence=0.2))
    async with ladder:
        result = await ladder.ask("Which?")
    assert (result.text, result.rung, result.confidence) == ("A", 0, 0.7)
    assert result.attempts[0].reason == "kept as the best of 2: confidence 0.70 < 0.80"
    assert result.cost_usd == pytest.approx(165e-6)


async def test_the_last_answer_can_be_kept_instead() -> None:
    """`keep="last"` for confidences that cannot be compared between models."""
    ladder, _, _ = engine(reply("A", confidence=0.7), reply("B", confidence=0.2), keep="last")
    async with ladder:
        assert (await ladder.ask("Which?")).text == "B"


async def test_an_unmeasurable_last_answer_beats_a_rejected_one() -> None:
    """Asked because the cheap one was unsure, the top rung's answer stands without a measure."""
    ladder, _, _ = engine(reply("A", confidence=0.7), reply("B", confidence=None))
    async with ladder:
        result = await ladder.ask("Which?")
    assert (result.text, result.confidence) == ("B", None)


@pytest.mark.parametrize(("unknown", "kept"), [("escalate", "large"), ("accept", "small")])
async def test_unknown_confidence_does_what_the_rung_says(unknown: str, kept: str) -> None:
    """`unknown` decides when nothing can be measured."""
    ladder, _, _ = engine("A", "B", ladder=two_rungs(unknown=unknown))
    async with ladder:
        result = await ladder.ask("Which?")
    assert result.model == kept


async def test_min_confidence_raises_every_threshold() -> None:
    """An ask may demand more than the ladder; what falls short is returned as degraded."""
    ladder, _, _ = engine(reply("A", confidence=0.9), reply("B", confidence=0.92))
    async with ladder:
        result = await ladder.ask("Which?", min_confidence=0.95)
    assert result.text == "B"
    assert result.degraded == "confidence 0.92 does not reach min_confidence 0.95"


async def test_n_rungs_are_all_used() -> None:
    """A ladder of five asks each in turn until one is sure."""
    models = ["m0", "m1", "m2", "m3", "m4"]
    rungs = tuple(Rung(model=m, provider="p", accept=0.5) for m in models)
    client = ScriptedClient({m: [reply(m, confidence=i / 5)] for i, m in enumerate(models)})
    async with Cascade(
        Ladder(name="five", rungs=rungs), {"p": client}, scorer=ScriptedScorer()
    ) as ladder:
        result = await ladder.ask("Which?")
    assert [a.model for a in result.attempts] == ["m0", "m1", "m2", "m3"]
    assert result.model == "m3"


class Backwards:
    """A policy that asks the last rung first, and the first only if that fails."""

    version = "backwards/1"
    needs_forecast = False

    def decide(self, state: State) -> Decision:
        if state.attempts and state.attempts[-1].verdict != "failed":
            return Decision(rung=None, reason="one answer is enough", accepted=True)
        return Decision(
            rung=state.open[-1] if state.open else None,
            reason="from the top",
            probabilities={f"call:{i}": 1 / len(state.open) for i in state.open},
        )


async def test_a_policy_may_skip_and_reorder() -> None:
    """Any object with `decide` names any rung not called yet."""
    ladder, client, sink = engine("A", [DOWN, "B"], policy=Backwards())
    async with ladder:
        result = await ladder.ask("Which?")
    assert [call.model for call in client.calls] == ["large", "small"]
    assert result.text == "A"
    assert sink.records[0]["attempts"][0]["probabilities"] == {"call:0": 1.0}
    assert sink.records[0]["policy"] == "backwards/1"


async def test_a_policy_for_one_ask() -> None:
    """`policy=` replaces the engine's for a single ask."""
    ladder, client, _ = engine(reply("A", confidence=0.9), "B")
    async with ladder:
        assert (await ladder.ask("Which?", policy=Backwards())).text == "B"
        assert (await ladder.ask("Which?")).text == "A"
    assert [call.model for call in client.calls] == ["large", "small"]


class Forecaster:
    """A scorer that forecasts before anything is called."""

    version = "forecaster"

    async def score(self, request: Request, attempts: Sequence[Attempt]) -> Score:
        return Score(confidence=0.9 if attempts else None, forecast={0: 0.1, 1: 0.9})


class Router(Backwards):
    """Calls the rung with the best forecast."""

    needs_forecast = True

    def decide(self, state: State) -> Decision:
        if state.attempts:
            return Decision(rung=None, reason="routed", accepted=True)
        return Decision(rung=max(state.forecast, key=state.forecast.__getitem__), reason="forecast")


async def test_a_policy_may_ask_for_a_forecast_first() -> None:
    """Routing on the prompt alone is a policy with `needs_forecast`."""
    ladder, client, _ = engine("A", "B", scorer=Forecaster(), policy=Router())
    async with ladder:
        result = await ladder.ask("Which?")
    assert [call.model for call in client.calls] == ["large"]
    assert result.confidence == 0.9


async def test_a_failed_rung_is_left_for_the_next() -> None:
    """An error of one provider is an attempt, not the end."""
    ladder, _, _ = engine(BUSY, reply("B", confidence=0.9))
    async with ladder:
        result = await ladder.ask("Which?")
    assert result.text == "B"
    assert result.attempts[0].verdict == "failed"
    assert result.attempts[0].error is BUSY


async def test_a_failed_top_rung_degrades_to_the_best_so_far() -> None:
    """An unsure answer is better than none, and says why it is not better."""
    ladder, _, sink = engine(reply("A", confidence=0.3), DOWN)
    async with ladder:
        result = await ladder.ask("Which?")
    assert result.text == "A"
    assert result.degraded is not None
    assert "ServerFailed" in result.degraded
    assert sink.records[0]["outcome"] == "degraded"


async def test_when_all_fail_the_error_holds_every_cause() -> None:
    """The group works with `except*`, pickles, and names each rung."""
    ladder, _, sink = engine(BUSY, DOWN)
    async with ladder:
        with pytest.raises(AllRungsFailed) as caught:
            await ladder.ask("Which?")
    assert caught.value.exceptions == (BUSY, DOWN)
    assert "p/small" in str(caught.value)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert copy.exceptions[0].retry_after_s == 2.0
    assert sink.records[0]["outcome"] == "failed"
    assert sink.records[0]["error"]["type"] == "AllRungsFailed"


async def test_failed_gates_escalate_and_say_which() -> None:
    """A truncated answer is not scored."""
    ladder, _, _ = engine(
        reply("half an ans", confidence=0.99, finish_reason="length"), reply("B", confidence=0.5)
    )
    async with ladder:
        result = await ladder.ask("Which?")
    assert result.text == "B"
    assert result.attempts[0].verdict == "rejected"
    assert result.attempts[0].failed_gates == ("not_truncated: cut off by the output limit",)
    assert result.attempts[0].score is None


async def test_when_every_answer_fails_a_gate_the_last_is_returned_as_degraded() -> None:
    """The caller asked for three tokens and gets them, marked."""
    ladder, _, _ = engine(
        reply("one two", finish_reason="length"), reply("three four", finish_reason="length")
    )
    async with ladder:
        result = await ladder.ask("Which?", max_tokens=3)
    assert result.text == "three four"
    assert result.degraded == "failed gate not_truncated"


async def test_when_every_answer_fails_a_gate_it_can_be_an_error() -> None:
    """`on_all_rejected="raise"` for callers who cannot use such an answer."""
    ladder, _, _ = engine(
        reply("x", finish_reason="length"),
        reply("y", finish_reason="length"),
        on_all_rejected="raise",
    )
    async with ladder:
        with pytest.raises(AllRungsFailed, match="not_truncated"):
            await ladder.ask("Which?")


async def test_nothing_but_empty_answers_is_an_error() -> None:
    """There is nothing to return."""
    ladder, _, _ = engine("", " ")
    async with ladder:
        with pytest.raises(AllRungsFailed, match="not_empty") as caught:
            await ladder.ask("Which?")
    assert len(caught.value.exceptions) == 2


async def test_an_unknown_price_makes_the_cost_unknown() -> None:
    """None, never zero."""
    ladder, _, _ = engine(reply("A", confidence=0.9), ladder=two_rungs(price=None))
    async with ladder:
        result = await ladder.ask("Which?")
    assert result.cost_usd is None
    assert result.saving_usd_estimate is None


async def test_missing_usage_makes_the_cost_unknown() -> None:
    """A provider that reports no tokens leaves the cost open."""
    ladder, _, _ = engine(reply("A", confidence=0.9, prompt_tokens=None))
    async with ladder:
        assert (await ladder.ask("Which?")).cost_usd is None


async def test_max_cost_stops_before_a_call_that_would_pass_it() -> None:
    """The dear rung's prompt alone would cost more than what is left."""
    ladder, client, _ = engine(reply("A", confidence=0.3), "B")
    async with ladder:
        result = await ladder.ask("Which?", max_cost_usd=100e-6)
    assert result.text == "A"
    assert [call.model for call in client.calls] == ["small"]
    assert result.attempts[0].verdict == "skipped"
    assert result.degraded is not None
    assert "max_cost_usd" in result.degraded


async def test_max_cost_without_prices_calls_nothing() -> None:
    """Nobody could say whether the limit holds."""
    ladder, client, _ = engine(
        "A", ladder=Ladder(name="free", rungs=(Rung(model="small", provider="p"),))
    )
    async with ladder:
        with pytest.raises(BudgetExceeded, match="price is unknown"):
            await ladder.ask("Which?", max_cost_usd=1.0)
    assert client.calls == []


class Slow(ScriptedClient):
    """Never answers for the large model."""

    async def complete(self, call: ModelCall) -> Answer:
        if call.model == "large":
            await anyio.sleep_forever()
        return await super().complete(call)


async def test_a_deadline_returns_the_best_so_far() -> None:
    """Out of time, the unsure answer is returned and says why."""
    client = Slow({"small": [reply("A", confidence=0.3)], "large": ["never"]})
    async with Cascade(two_rungs(), {"p": client}, scorer=ScriptedScorer()) as ladder:
        with anyio.fail_after(5):
            result = await ladder.ask("Which?", deadline_s=0.05)
    assert result.text == "A"
    assert result.degraded is not None
    assert "DeadlineExceeded" in result.degraded
    assert result.cost_usd is None, "the cut call may have cost something"


async def test_a_deadline_before_any_answer_is_an_error() -> None:
    """Nothing to return, so the error says that time ran out."""
    client = Slow({"large": ["never"]})
    rungs = (Rung(model="large", provider="p"),)
    async with Cascade(Ladder(name="slow", rungs=rungs), {"p": client}) as ladder:
        with anyio.fail_after(5), pytest.raises(DeadlineExceeded, match=r"0\.05"):
            await ladder.ask("Which?", deadline_s=0.05)


async def test_a_cancelled_ask_is_recorded() -> None:
    """What it had cost before is in the log; the call in flight makes the total unknown."""
    client, sink = Slow({"small": [reply("A", confidence=0.3)], "large": ["never"]}), ListSink()
    async with Cascade(two_rungs(), {"p": client}, scorer=ScriptedScorer(), sink=sink) as ladder:
        with anyio.move_on_after(0.05):
            await ladder.ask("Which?")
    (record,) = sink.records
    assert record["outcome"] == "cancelled"
    assert record["calling"] == 1
    assert [a["model"] for a in record["attempts"]] == ["small"]
    assert record["cost_usd"] is None


class BrokenScorer:
    """Fails with what it is given."""

    version = "broken"

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def score(self, request: Request, attempts: Sequence[Attempt]) -> Score:
        raise self.error


async def test_a_scorer_that_cannot_be_reached_leaves_the_confidence_unknown() -> None:
    """A judge's outage does not lose the answer."""
    ladder, _, _ = engine("A", "B", scorer=BrokenScorer(DOWN))
    async with ladder:
        result = await ladder.ask("Which?")
    assert (result.text, result.confidence) == ("B", None)
    assert result.attempts[0].score is not None
    assert result.attempts[0].score.why_unknown == "scorer failed: ServerFailed"


async def test_a_bug_in_a_scorer_is_raised_and_recorded() -> None:
    """Unknown exceptions are neither swallowed nor lost."""
    ladder, _, sink = engine("A", "B", scorer=BrokenScorer(ZeroDivisionError()))
    async with ladder:
        with pytest.raises(ZeroDivisionError):
            await ladder.ask("Which?")
    assert sink.records[0]["outcome"] == "failed"
    assert sink.records[0]["error"] == {"type": "ZeroDivisionError"}


async def test_asking_outside_the_engine_is_an_error() -> None:
    """Before entering and after leaving."""
    ladder, client, sink = engine("A")
    with pytest.raises(EngineClosed):
        await ladder.ask("Which?")
    async with ladder:
        pass
    with pytest.raises(EngineClosed):
        await ladder.ask("Which?")
    assert client.closed
    assert sink.closed


async def test_every_ask_has_exactly_one_record() -> None:
    """A hundred at once: as many records, as many ids, all in flight together."""
    ladder, _, sink = engine(reply("A", confidence=0.9))
    results: list[str] = []

    async def one() -> None:
        results.append((await ladder.ask("Which?")).id)

    async with ladder, anyio.create_task_group() as tasks:
        for _ in range(100):
            tasks.start_soon(one)
    assert sorted(r["id"] for r in sink.records) == sorted(results)
    assert len(set(results)) == 100


async def test_text_is_in_the_record_only_when_asked_for() -> None:
    """Prompts and answers are the user's secrets."""
    for keep in (False, True):
        ladder, _, sink = engine(reply("Paris-secret", confidence=0.9), log_text=keep)
        async with ladder:
            await ladder.ask("Prompt-secret", metadata={"route": "faq"}, tenant="acme")
        written = str(sink.records[0])
        assert ("Prompt-secret" in written) is keep
        assert ("Paris-secret" in written) is keep
        assert sink.records[0]["metadata"] == {"route": "faq"}
        assert sink.records[0]["tenant"] == "acme"


async def test_unknown_fields_are_passed_on_untouched() -> None:
    """Tools, formats and fields this version has never heard of reach the client."""
    ladder, client, _ = engine(reply("A", confidence=0.9), gates=())
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    async with ladder:
        await ladder.ask(
            [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}],
            tools=tools,
            reasoning_effort="low",
        )
    request = client.calls[0].request
    assert request.tools == tools
    assert request.extra == {"reasoning_effort": "low"}
    assert request.messages[0].content == [{"type": "image_url", "image_url": {"url": "data:"}}]
    assert client.calls[0].max_tokens is None


async def test_explain_tells_the_walk_in_words() -> None:
    """For each rung why it was left or kept, what it cost and what it said; then the outcome."""
    long = "Lead,\nof course. " * 20
    ladder, _, _ = engine(reply("?", confidence=0.3), reply(long, confidence=0.7))
    async with ladder:
        told = (await ladder.ask("Which?")).explain().splitlines()
    assert told[0].startswith("rung 0 small: escalated: confidence 0.30 < 0.80, $0.000015")
    assert told[1] == "  said: ?"
    assert told[2].startswith("rung 1 large: accepted: kept as the best of 2: confidence 0.70, no")
    assert told[3].startswith("  said: Lead, of course. Lead,")
    assert told[3].endswith("…")
    assert len(told[3]) < 120
    assert told[4].startswith("→ answered by large, confidence 0.70, $0.000165 in all")


async def test_explain_tells_what_a_gate_had_against_an_answer() -> None:
    """The gate's own words, which the log and the reason leave out because they may quote the answer."""
    gate = CallableGate(
        function=lambda request, answer: "bad word" if answer.text == "A" else None, name="g"
    )
    ladder, _, _ = engine(reply("A", confidence=0.9), reply("B", confidence=0.9), gates=[gate])
    async with ladder:
        result = await ladder.ask("Which?")
    assert "bad word" not in result.attempts[0].reason
    assert "  failed g: bad word\n" in result.explain()


@pytest.mark.parametrize(
    ("failure", "cost"),
    [
        (ServerFailed("HTTP 500", provider="p", model="small", status=500), 0.0),
        (ConnectFailed("refused", provider="p", model="small", sent=False), 0.0),
        (ConnectFailed("cut", provider="p", model="small"), None),
        (ProviderTimeout("late", provider="p", model="small"), None),
        (BadResponse("half a JSON", provider="p", model="small"), None),
    ],
    ids=["refused with a status", "never sent", "cut", "timed out", "no completion"],
)
async def test_a_failed_call_that_may_have_been_billed_has_no_known_cost(
    failure: ProviderError, cost: float | None
) -> None:
    """Nobody says what it cost, so neither does the attempt, and the ask's total is unknown."""
    ladder, _, _ = engine(failure, reply("B", confidence=0.9))
    async with ladder:
        result = await ladder.ask("Which?")
    assert result.attempts[0].cost_usd == cost
    assert result.cost_usd == (None if cost is None else pytest.approx(150e-6))


async def test_an_ask_that_fails_tells_its_id_its_attempts_and_what_it_cost() -> None:
    """Rejected answers were paid for, although there is no result to say so."""
    ladder, _, sink = engine(reply("", confidence=0.9), DOWN, on_all_rejected="raise")
    async with ladder:
        with pytest.raises(AllRungsFailed) as caught:
            await ladder.ask("Which?")
    error = caught.value
    assert error.ask_id == sink.records[0]["id"]
    assert [a.verdict for a in error.attempts] == ["rejected", "failed"]
    assert error.cost_usd == pytest.approx(15e-6)


async def test_observers_see_every_record() -> None:
    """An observer without a log is enough to count."""
    seen: list[Mapping[str, Any]] = []

    class Watch:
        def on_record(self, record: Mapping[str, Any]) -> None:
            seen.append(record)

    ladder, _, _ = engine(reply("A", confidence=0.9), sink=None, observers=[Watch()])
    async with ladder:
        result = await ladder.ask("Which?")
    assert [r["id"] for r in seen] == [result.id]


async def test_a_bad_option_costs_nothing() -> None:
    """Refused before any call."""
    ladder, client, _ = engine("A")
    async with ladder:
        with pytest.raises(RequestError, match=r"min_confidence: 1.5 given; allowed: a number in"):
            await ladder.ask("Which?", min_confidence=1.5)
    assert client.calls == []


def test_a_rung_without_a_client_is_refused() -> None:
    """Every provider the ladder names needs a client."""
    with pytest.raises(LadderError, match=r"ladder\[0\].provider: 'p' has no client"):
        Cascade(two_rungs(price=Price(input=1, output=1)), {})


class Gated(ScriptedClient):
    """Answers for the first model at once, and for the second only when told to."""

    def __init__(self, script: Mapping[str, Sequence[Answer | str | Exception]]) -> None:
        super().__init__(script)
        self.asked, self.may_answer = anyio.Event(), anyio.Event()
        self.cancelled = 0

    async def complete(self, call: ModelCall) -> Answer:
        if call.model == "large":
            self.asked.set()
            try:
                await self.may_answer.wait()
            except anyio.get_cancelled_exc_class():
                self.cancelled += 1
                raise
        return await super().complete(call)


async def test_closing_lets_asks_in_flight_finish() -> None:
    """Within the grace time an ask goes on to its end, the next rung included."""
    results = []
    sink = ListSink()
    client = Gated({"small": [reply("A", confidence=0.1)], "large": [reply("B", confidence=0.9)]})
    ladder = Cascade(two_rungs(), {"p": client}, scorer=ScriptedScorer(), sink=sink)

    async def one() -> None:
        results.append(await ladder.ask("Which?"))

    async with anyio.create_task_group() as tasks, ladder:
        tasks.start_soon(one)
        await client.asked.wait()
        tasks.start_soon(ladder.aclose)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(EngineClosed):
            await ladder.ask("Another?")
        client.may_answer.set()
    assert [result.text for result in results] == ["B"]
    assert [record["outcome"] for record in sink.records] == ["answered"]


async def test_what_is_still_running_after_the_grace_time_is_cut() -> None:
    """Its call is cancelled, it ends with the best answer it has, and the record says so."""
    results = []
    sink = ListSink()
    client = Gated({"small": [reply("A", confidence=0.1)], "large": ["B"]})
    ladder = Cascade(two_rungs(), {"p": client}, scorer=ScriptedScorer(), sink=sink, grace_s=0.0)

    async def one() -> None:
        results.append(await ladder.ask("Which?"))

    async with anyio.create_task_group() as tasks, ladder:
        tasks.start_soon(one)
        await client.asked.wait()
    assert results[0].text == "A"
    assert "EngineClosed" in (results[0].degraded or "")
    assert client.cancelled == 1
    assert [record["outcome"] for record in sink.records] == ["cut"]


async def test_an_ask_that_is_cut_without_an_answer_says_that_the_engine_was_closed() -> None:
    """The error is the engine's own, with what was tried, and no rung is called any more."""
    errors: list[EngineClosed] = []
    client = Gated({"large": ["B"]})
    rungs = (Rung(model="large", provider="p"), Rung(model="huge", provider="p"))
    ladder = Cascade(Ladder(name="l", rungs=rungs), {"p": client}, grace_s=0.0)

    async def one() -> None:
        try:
            await ladder.ask("Which?")
        except EngineClosed as error:
            errors.append(error)

    async with anyio.create_task_group() as tasks, ladder:
        tasks.start_soon(one)
        await client.asked.wait()
    assert [attempt.model for attempt in errors[0].attempts] == ["large"]
    assert errors[0].cost_usd is None


@pytest.mark.parametrize("given", [0.0, -1.0, math.nan, math.inf, True, "5"], ids=str)
def test_a_default_deadline_that_is_no_time_is_refused(given: Any) -> None:
    """The message says what was given and what is allowed."""
    with pytest.raises(ConfigError, match=r"deadline_s: .* given; allowed: seconds > 0"):
        Cascade(two_rungs(), {"p": ScriptedClient({})}, deadline_s=given)


async def test_an_ask_without_a_deadline_has_the_engines() -> None:
    """It ends within it."""
    client = Gated({"large": ["B"]})
    ladder = Cascade(
        Ladder(name="l", rungs=(Rung(model="large", provider="p"),)), {"p": client}, deadline_s=0.01
    )
    async with ladder:
        with pytest.raises(DeadlineExceeded, match=r"deadline_s 0\.01 ran out"):
            await ladder.ask("Which?")


async def test_when_time_is_short_a_rung_that_cannot_make_it_is_passed_over() -> None:
    """The answer in hand is returned, and says why it is no better."""
    rungs = (
        Rung(model="small", provider="p", accept=0.8),
        Rung(model="slow", provider="p", expected_s=60.0),
    )
    client = ScriptedClient({"small": [reply("A", confidence=0.5)], "slow": ["B"]})
    ladder = Cascade(Ladder(name="l", rungs=rungs), {"p": client}, scorer=ScriptedScorer())
    async with ladder:
        result = await ladder.ask("Which?", deadline_s=5.0)
    assert result.text == "A"
    assert "it takes about 60 s" in (result.degraded or "")
    assert [attempt.verdict for attempt in result.attempts] == ["skipped", "accepted"]


async def test_when_no_rung_can_make_it_the_quickest_is_tried() -> None:
    """Trying is better than giving up while there is no answer at all."""
    rungs = (
        Rung(model="slow", provider="p", expected_s=60.0),
        Rung(model="quick", provider="p", expected_s=30.0),
    )
    client = ScriptedClient({"slow": ["A"], "quick": ["B"]})
    ladder = Cascade(Ladder(name="l", rungs=rungs), {"p": client})
    async with ladder:
        assert (await ladder.ask("Which?", deadline_s=5.0)).text == "B"


async def test_a_prompt_too_long_for_one_window_goes_to_a_rung_with_a_larger_one() -> None:
    """Rungs with a window no larger are passed over."""
    rungs = tuple(
        Rung(model=model, provider="p", context_window=window)
        for model, window in (("small", 4_000), ("medium", 4_000), ("large", 100_000))
    )
    too_long = ContextTooLong("HTTP 400", provider="p", model="small", status=400)
    client = ScriptedClient({"small": [too_long], "medium": ["M"], "large": ["L"]})
    async with Cascade(Ladder(name="l", rungs=rungs), {"p": client}) as ladder:
        result = await ladder.ask("Which?")
    assert result.text == "L"
    assert [call.model for call in client.calls] == ["small", "large"]
    assert "window of 4,000 tokens" in result.attempts[0].reason + result.attempts[1].reason


async def test_an_ask_calls_nothing_more_once_its_tokens_are_used() -> None:
    """`max_total_tokens` counts prompts and answers of every rung."""
    ladder, client, _ = engine(reply("A", confidence=0.1), "B")
    async with ladder:
        result = await ladder.ask("Which?", max_total_tokens=15)
    assert result.text == "A"
    assert "max_total_tokens 15 is used (15 tokens)" in (result.degraded or "")
    assert len(client.calls) == 1


async def test_a_call_that_is_held_back_is_a_rung_passed_over() -> None:
    """An open breaker costs nothing, and the ladder goes on."""
    held = CircuitOpen("open for 3 s", provider="p", model="small", retry_after_s=3.0)
    ladder, _, _ = engine(held, reply("B", confidence=0.9))
    async with ladder:
        result = await ladder.ask("Which?")
    assert [attempt.verdict for attempt in result.attempts] == ["skipped", "accepted"]
    assert result.attempts[0].error is held
    assert "CircuitOpen" in result.attempts[0].reason
    assert result.degraded is None, "a better rung has answered"


async def test_when_every_rung_is_held_back_the_error_says_when_to_come_again() -> None:
    """The least wait of all causes."""
    held = [
        CircuitOpen("open", provider="p", model=model, retry_after_s=seconds)
        for model, seconds in (("small", 3.0), ("large", 1.5))
    ]
    ladder, _, _ = engine(*held)
    async with ladder:
        with pytest.raises(AllRungsFailed) as caught:
            await ladder.ask("Which?")
    assert caught.value.retry_after_s == 1.5


async def test_a_client_that_cannot_send_the_request_is_one_failed_rung() -> None:
    """What earlier rungs answered is paid for and kept; the error is in the attempts."""
    refused = RequestError("messages[0].role: 'function' has no counterpart")
    ladder, _, _ = engine(reply("A", confidence=0.3), refused)
    async with ladder:
        result = await ladder.ask("Which?")
    assert result.text == "A"
    assert result.attempts[1].error is refused


async def test_a_raising_observer_costs_nobody_an_answer() -> None:
    """It is told in the program's log."""

    class Broken:
        def on_record(self, record: Mapping[str, Any]) -> None:
            raise ValueError("full")

    ladder, _, sink = engine(reply("A", confidence=0.9), observers=[Broken()])
    async with ladder:
        assert (await ladder.ask("Which?")).text == "A"
    assert len(sink.records) == 1


async def test_metadata_is_recorded_as_it_was_when_asked() -> None:
    """One dict used again and again does not rewrite the past."""
    ladder, _, sink = engine(reply("A", confidence=0.9))
    shared: dict[str, int] = {}
    async with ladder:
        for n in range(3):
            shared["n"] = n
            await ladder.ask("Which?", metadata=shared)
    assert [r["metadata"]["n"] for r in sink.records] == [0, 1, 2]


async def test_a_gate_that_quotes_the_answer_does_not_put_it_into_the_log() -> None:
    """The reason is in the result; without `log.text` the record names the gate only."""

    def quoting(request: Request, answer: Answer) -> str:
        return f"bad: {answer.text}"

    gate = CallableGate(function=quoting, name="mine")
    ladder, _, sink = engine("Answer-secret", "Answer-secret", gates=[gate])
    async with ladder:
        result = await ladder.ask("Which?")
    assert result.attempts[0].failed_gates == ("mine: bad: Answer-secret",)
    assert result.degraded == "failed gate mine"
    assert "secret" not in str(sink.records)


async def test_a_deadline_covers_scoring() -> None:
    """A judge that never comes back leaves the confidence unknown."""

    class Slow:
        version = "slow"

        async def score(self, request: Request, attempts: Sequence[Attempt]) -> Score:
            await anyio.sleep_forever()
            raise AssertionError

    ladder, _, _ = engine("A", "B", scorer=Slow())
    async with ladder:
        with anyio.fail_after(5):
            result = await ladder.ask("Which?", deadline_s=0.1)
    assert result.confidence is None


async def test_a_revised_confidence_is_the_one_reported() -> None:
    """A later model that agrees makes an earlier answer surer, and that decides and is told."""

    class Agreeing:
        version = "agreeing"

        async def score(self, request: Request, attempts: Sequence[Attempt]) -> Score:
            if len(attempts) == 1:
                return Score(confidence=0.4, forecast={0: 0.4, 1: 0.8})
            return Score(confidence=0.7, forecast={0: 0.95, 1: 0.7})

    ladder, _, sink = engine("A", "A.", scorer=Agreeing())
    async with ladder:
        result = await ladder.ask("Which?", min_confidence=0.9)
    assert (result.text, result.confidence, result.degraded) == ("A", 0.95, None)
    assert "revised to 0.95" in result.attempts[0].reason
    assert sink.records[0]["confidence"] == 0.95


@pytest.mark.parametrize(
    ("option", "value"), [("tenant", "\ud800"), ("tenant", 3), ("metadata", "x")]
)
async def test_labels_that_no_record_can_hold_are_refused(option: str, value: Any) -> None:
    """Before any call."""
    ladder, client, _ = engine("A")
    async with ladder:
        with pytest.raises(RequestError, match=f"^{option}: "):
            await ladder.ask("Which?", **{option: value})
    assert client.calls == []


async def test_prompts_and_answers_are_not_in_reprs() -> None:
    """What ends up in a traceback or a log line is sizes, not texts."""
    ladder, client, _ = engine(reply("Answer-secret", confidence=0.9))
    async with ladder:
        result = await ladder.ask("Prompt-secret")
    assert "secret" not in repr(result) + repr(client.calls)
