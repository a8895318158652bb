"""The checks find what they are there for: each is tried on evidence made up to break it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from .checks import Evidence, violations
from .plan import FAULTS, Faulty, Plan, answer_text, cost_usd, is_intact
from .upstreams import Counts, Row
from .watch import Lag, Resources, Seen, Tried

HELD = Resources(sockets=3, files=8, tasks=1)
COST = cost_usd("small", 0)
ANSWERED = Tried(deployment="bad/small", error=None)
VAIN = Tried(deployment="bad/small", error="ProviderTimeout", timed_out=True)
SEEN = Seen(
    ask=0,
    began=10.0,
    ended=10.5,
    outcome="answered",
    model="small",
    cost_usd=COST,
    costs={"small": COST},
    tries=(ANSWERED,),
)
RECORD = {"metadata": {"ask": 0}, "outcome": "answered", "cost_usd": COST, "attempts": []}
CANCELLED = RECORD | {"outcome": "cancelled", "cost_usd": 0.0, "calling": None}
SERVED = Row(ask=0, model="small", number=0, fault=None, state="served", cost_usd=COST)
KILLED = Row(ask=0, model="small", number=0, fault=None, state="killed", cost_usd=0.0)
SOUND = Evidence(
    seen=[SEEN],
    records=[RECORD],
    torn=0,
    dropped=0,
    counts=[Counts(rows=(SERVED,), connections=0)],
    before=HELD,
    after=HELD,
    lag=Lag(),
    deadline_s=2.0,
    in_flight=1,
    elapsed_s=1.0,
    probes=0.5,
)


def seen(**changes: Any) -> dict[str, Any]:
    return {"seen": [replace(SEEN, **changes)]}


def counts(*rows: Row, connections: int = 0) -> dict[str, Any]:
    return {"counts": [Counts(rows=rows, connections=connections)]}


BROKEN: dict[str, tuple[str, dict[str, Any]]] = {
    "late": ("on_time", seen(ended=12.2)),
    "no error of ours": ("ended_well", seen(outcome="broken")),
    "not intact": ("ended_well", seen(intact=False)),
    "no record": ("recorded_once", {"records": []}),
    "two records": ("recorded_once", {"records": [RECORD, RECORD]}),
    "a stranger's record": (
        "recorded_once",
        {"records": [RECORD, RECORD | {"metadata": {"ask": 9}}]},
    ),
    "another outcome": ("recorded_once", {"records": [RECORD | {"outcome": "failed"}]}),
    "another cost": ("recorded_once", {"records": [RECORD | {"cost_usd": None}]}),
    "torn": ("recorded_once", {"torn": 1}),
    "lost": ("recorded_once", {"dropped": 1}),
    "never billed": ("costs_add_up", counts()),
    "billed twice": ("costs_add_up", counts(SERVED, replace(SERVED, number=1))),
    "never told": ("costs_add_up", counts(SERVED, replace(SERVED, model="large"))),
    "unknown without a cause": ("costs_add_up", seen(costs={"small": None}, cost_usd=None)),
    "a sum that is none": ("costs_add_up", seen(cost_usd=2 * COST)),
    "sent all the same": (
        "costs_add_up",
        seen(
            costs={"small": 0.0},
            cost_usd=0.0,
            tries=(Tried(deployment="bad/small", error="ConnectFailed", sent=False),),
        )
        | counts(KILLED),
    ),
    "cancelled for nothing": (
        "cancelled_costs_add_up",
        seen(outcome="cancelled", costs={}) | {"records": [CANCELLED]},
    ),
    "a socket": ("nothing_leaks", {"after": replace(HELD, sockets=4)}),
    "a task": ("nothing_leaks", {"after": replace(HELD, tasks=2)}),
    "a connection": ("nothing_leaks", counts(SERVED, connections=1)),
    "two waits": ("no_second_wait", seen(tries=(VAIN, VAIN, ANSWERED))),
    "a breaker that is none": (
        "no_second_wait",
        {"seen": [replace(SEEN, tries=(VAIN, ANSWERED))] * 4, "records": []},
    ),
}


def test_sound_evidence_breaks_no_check() -> None:
    """What is as it should be is not complained about."""
    assert violations(SOUND) == []


@pytest.mark.parametrize(("check", "changes"), BROKEN.values(), ids=BROKEN)
def test_what_is_amiss_is_found(check: str, changes: dict[str, Any]) -> None:
    """One thing is wrong, and the check for it says so."""
    found = {violation.partition(":")[0] for violation in violations(replace(SOUND, **changes))}
    assert check in found


def test_a_late_loop_excuses_a_late_ask() -> None:
    """An ask is not late for the time in which this very process did not get round."""
    lag = Lag()
    lag.note(12.15, 0.3)
    assert violations(replace(SOUND, lag=lag, **seen(ended=12.2))) == []


def test_every_fault_is_drawn_and_drawn_alike() -> None:
    """A plan that has been sent draws as the one it was made from, each fault now and then."""
    plan = Plan(faulty={"small": Faulty(share=0.5, faults=tuple(FAULTS))})
    sent = Plan.from_json(plan.to_json())
    drawn = [plan.fault("small", ask, 0) for ask in range(2_000)]
    assert drawn == [sent.fault("small", ask, 0) for ask in range(2_000)]
    assert set(drawn) == {None, *FAULTS}
    assert 900 < drawn.count(None) < 1_100


def test_an_answer_to_another_ask_is_not_intact() -> None:
    """The checksum tells answers apart."""
    assert is_intact(answer_text("small", 1), "small", 1)
    assert not is_intact(answer_text("small", 1), "small", 2)
    assert not is_intact(answer_text("small", 1)[:-1], "small", 1)
