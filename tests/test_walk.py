"""The walk as a pure procedure: laws that hold for every ladder and every outcome."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from cascade.errors import ServerFailed
from cascade.intake import make_request
from cascade.ladder import Ladder, Rung
from cascade.policy import Thresholds
from cascade.pricing import Price
from cascade.rules import NotEmpty, NotTruncated
from cascade.testing import reply
from cascade.types import Demand, Score
from cascade.walk import Answered, Call, Ending, Failed, Plan, best_of, walk

REQUEST = make_request("x")
confidences = st.none() | st.floats(0, 1)


class Said:
    """What a rung does: fail, be cut off, or answer with a confidence."""

    def __init__(self, kind: str, confidence: float | None) -> None:
        self.kind, self.confidence = kind, confidence

    def __repr__(self) -> str:
        return f"{self.kind}:{self.confidence}"


said = st.builds(Said, st.sampled_from(["answer", "answer", "answer", "fail", "cut"]), confidences)


def run(plan: Plan, script: Sequence[Said], demand: Demand | None = None) -> Ending:
    """Drive a walk with scripted outcomes, as any driver would."""
    steps = walk(plan, REQUEST, demand or Demand())
    try:
        effect = next(steps)
        while True:
            if isinstance(effect, Call):
                now = script[effect.rung]
                if now.kind == "fail":
                    error = ServerFailed("down", provider="p", model=str(effect.rung))
                    effect = steps.send(Failed(error=error, latency_s=0.0, cost_usd=0.0))
                else:
                    finish = "length" if now.kind == "cut" else "stop"
                    answer = reply(str(effect.rung), finish_reason=finish)
                    effect = steps.send(Answered(answer=answer, latency_s=0.1))
            else:
                confidence = script[effect.attempts[-1].rung].confidence
                effect = steps.send(Score(confidence=confidence, why_unknown="scripted"))
    except StopIteration as end:
        ending: Ending = end.value
        return ending


@st.composite
def ladders(draw: st.DrawFn) -> tuple[Plan, list[Said]]:
    n = draw(st.integers(1, 5))
    rungs = tuple(
        Rung(
            model=f"m{i}",
            provider="p",
            accept=draw(st.none() | st.floats(0, 1)),
            unknown=draw(st.sampled_from(["accept", "escalate"])),
            price=Price(input=1.0 + i, output=2.0 + i),
        )
        for i in range(n)
    )
    plan = Plan(
        ladder=Ladder(name="any", rungs=rungs),
        policy=Thresholds(),
        gates=(NotEmpty(), NotTruncated()),
    )
    return plan, draw(st.lists(said, min_size=n, max_size=n))


@given(ladders())
def test_the_answer_kept_is_the_surest_of_those_tried(case: tuple[Plan, list[Said]]) -> None:
    """No answer that passed its gates and was tried is surer than the one returned."""
    plan, script = case
    ending = run(plan, script)
    if ending.kept is None or ending.attempts[ending.kept].failed_gates:
        assert all(a.failed_gates or a.answer is None for a in ending.attempts)
        return
    kept = ending.attempts[ending.kept].confidence
    tried = [a.confidence for a in ending.attempts if a.answer and not a.failed_gates]
    assert kept is None or kept == max(c for c in tried if c is not None)


@given(ladders())
def test_cost_is_the_sum_of_the_attempts(case: tuple[Plan, list[Said]]) -> None:
    """Rejected and cut answers are paid for too."""
    ending = run(*case)
    assert ending.cost_usd == sum(a.cost_usd or 0.0 for a in ending.attempts)


@given(ladders())
def test_rungs_are_tried_in_order_once_each(case: tuple[Plan, list[Said]]) -> None:
    """The fixed order neither skips nor repeats, and stops at the first that is sure enough."""
    plan, script = case
    ending = run(plan, script)
    tried = [a.rung for a in ending.attempts]
    assert tried == list(range(len(tried)))
    for attempt in ending.attempts[:-1]:
        threshold = plan.ladder.rungs[attempt.rung].accept
        if attempt.confidence is not None and not attempt.failed_gates and threshold is not None:
            assert attempt.confidence < threshold


@given(ladders(), st.floats(0, 1))
def test_raising_a_threshold_never_lowers_escalation(
    case: tuple[Plan, list[Said]], floor: float
) -> None:
    """A stricter demand calls at least as many rungs."""
    plan, script = case
    loose = run(plan, script)
    strict = run(plan, script, Demand(min_confidence=floor))
    assert len(strict.attempts) >= len(loose.attempts)


@given(ladders())
def test_every_walk_ends_with_an_answer_or_an_error(case: tuple[Plan, list[Said]]) -> None:
    """Exactly one of the two, and at most one attempt is the accepted one."""
    ending = run(*case)
    assert (ending.kept is None) == (ending.error is not None)
    accepted = [i for i, a in enumerate(ending.attempts) if a.verdict == "accepted"]
    assert accepted == ([] if ending.kept is None else [ending.kept])


@given(ladders(), st.floats(0, 1e-4))
def test_no_call_is_started_when_the_money_is_spent(
    case: tuple[Plan, list[Said]], limit: float
) -> None:
    """What was spent before the last call is below the limit."""
    plan, script = case
    ending = run(plan, script, Demand(max_cost_usd=limit))
    called = [a for a in ending.attempts if a.verdict != "skipped"]
    assert sum(a.cost_usd or 0.0 for a in called[:-1]) <= limit


def test_best_of_prefers_the_later_of_equals() -> None:
    """The dearer model wins a tie."""
    plan = Plan(
        ladder=Ladder(
            name="two",
            rungs=(Rung(model="a", provider="p", accept=0.9), Rung(model="b", provider="p")),
        ),
        policy=Thresholds(),
    )
    ending = run(plan, [Said("answer", 0.5), Said("answer", 0.5)])
    assert ending.kept == 1
    assert best_of(ending.attempts[:1]) == 0
    assert best_of([replace(ending.attempts[0], failed_gates=("x: y",))]) is None


def test_a_policys_own_order_and_thresholds() -> None:
    """`Thresholds` can reorder, leave rungs out and replace thresholds by model."""
    rungs = tuple(Rung(model=m, provider="p", accept=0.9) for m in "abc")
    policy = Thresholds(order=(2, 0), accept={"c": 0.99, "a": 0.1})
    plan = Plan(ladder=Ladder(name="abc", rungs=rungs), policy=policy)
    ending = run(plan, [Said("answer", 0.2), Said("answer", 1.0), Said("answer", 0.95)])
    assert [a.rung for a in ending.attempts] == [2, 0]
    assert ending.kept == 0, "the surest, although the other was accepted"
