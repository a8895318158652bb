"""Answers without a score and their judge: which ones, how labels are kept, and when the work is given up."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import anyio
import pytest

from cascade.errors import LogError, RequestError
from cascade.exchange.judging import (
    FAILURES_IN_A_ROW,
    CountingClient,
    Judged,
    Unlabelled,
    WithFields,
    judge,
    unlabelled,
)
from cascade.exchange.skips import Skips
from cascade.intake import make_request
from cascade.labels import Label, LabelFile, labels_of, write_labels
from cascade.ports import Client
from cascade.records import Response, TrafficRow
from cascade.testing import FakeClock, ScriptedClient, reply
from cascade.types import Attempt, ModelCall, Request, Score
from tests import traffic

pytestmark = pytest.mark.anyio


class Judge:
    """Says what the answer says: a number is a grade, anything else is no verdict."""

    version = "judge/test/1"

    def __init__(self) -> None:
        self.in_flight = 0
        self.most = 0

    async def score(self, request: Request, attempts: Sequence[Attempt]) -> Score:
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        for _ in range(10):
            await anyio.lowlevel.checkpoint()
        self.in_flight -= 1
        text = attempts[-1].answer.text if attempts[-1].answer else None
        if text == "refuse":
            raise RequestError("x")
        if text == "free":
            return Score(confidence=1.0, cost_usd=None)
        try:
            return Score(confidence=float(text or ""), cost_usd=0.5)
        except ValueError:
            return Score(
                confidence=None, why_unknown="the judge did not reply: Busy: 17", cost_usd=0.0
            )


def answers(*texts: str) -> list[Unlabelled]:
    """Answers to judge."""
    request = make_request("x")
    return [
        Unlabelled(id=f"{i}", model="m", log="a.jsonl", request=request, text=text)
        for i, text in enumerate(texts)
    ]


async def test_verdicts_become_labels_and_the_rest_is_counted() -> None:
    """Costs are added up; a cost that is not known is counted and not taken for nothing."""
    written: list[Label] = []
    judged = Judged()
    given = answers("1", "0.25", "?", "free", "refuse", "7")
    await judge(given, Judge(), written.append, judged, at_once=2)
    by = "judge/test/1"
    assert sorted(written, key=lambda label: label.id) == [
        Label(id="0", score=1.0, model="m", log="a.jsonl", by=by),
        Label(id="1", score=0.25, model="m", log="a.jsonl", by=by),
        Label(id="3", score=1.0, model="m", log="a.jsonl", by=by),
    ]
    assert (judged.labels, judged.cost_usd, judged.cost_unknown) == (3, 1.5, 1)
    assert judged.failures == {
        "the judge did not reply: Busy": 1,
        "the answer cannot be sent": 1,
        "no verdict": 1,
    }
    assert not judged.stopped


async def test_no_more_calls_than_allowed_are_in_flight() -> None:
    """And no fewer, where there is enough to do."""
    scorer = Judge()
    await judge(answers(*["1"] * 50), scorer, lambda _: None, Judged(), at_once=3)
    assert scorer.most == 3


async def test_a_judge_that_is_down_is_given_up() -> None:
    """After so many in a row; a verdict between them starts the count anew."""
    judged = Judged()
    given = answers(*["?"] * (FAILURES_IN_A_ROW - 1), "1", *["?"] * 1_000)
    await judge(given, Judge(), lambda _: None, judged, at_once=1)
    assert judged.stopped
    assert judged.failures.total() == 2 * FAILURES_IN_A_ROW - 1


async def test_labels_that_cannot_be_written_end_the_work() -> None:
    """With the error itself, not a group of it."""

    def full(_: Label) -> None:
        raise LogError("disk full")

    with pytest.raises(LogError, match="disk full"):
        await judge(answers("1", "1", "1"), Judge(), full, Judged(), at_once=2)


async def test_what_was_labelled_before_the_work_was_cut_short_is_kept(tmp_path: Path) -> None:
    """Each label is in the file before the next call."""
    judged = Judged()

    class Stuck(Judge):
        async def score(self, request: Request, attempts: Sequence[Attempt]) -> Score:
            score = await super().score(request, attempts)
            if score.confidence == 0.0:
                await anyio.sleep_forever()
            return score

    with anyio.move_on_after(0.2), LabelFile(tmp_path, FakeClock(1)) as labels:
        await judge(answers("1", "0.5", "0"), Stuck(), labels.write, judged, at_once=1)
    assert judged.labels == 2
    assert labels_of(tmp_path, log="a.jsonl") == {("0", "m"): 1.0, ("1", "m"): 0.5}
    assert labels_of(tmp_path) == {}


async def test_a_label_that_is_cut_off_is_passed_over(tmp_path: Path) -> None:
    """A killed process costs the label it was writing; a line that is none is refused."""
    write_labels(tmp_path, [Label(id="a", score=1.0), Label(id="b", score=0.0)], FakeClock(1))
    (file,) = tmp_path.glob("labels-*.jsonl")
    file.write_bytes(file.read_bytes()[:-8])
    assert labels_of(tmp_path) == {("a", None): 1.0}
    file.write_text("{}\n")
    with pytest.raises(LogError, match=r"labels-.*jsonl:1: not a label"):
        labels_of(tmp_path)


async def test_only_answers_without_a_score_are_found(tmp_path: Path) -> None:
    """Scored, labelled and unreadable ones are not; what cannot be judged is counted."""
    rows = [
        TrafficRow(
            id="a",
            prompt="x",
            responses=[
                Response(model="scored", text="x", score=0.0),
                Response(model="labelled", text="x"),
                Response(model="mute"),
                Response(model="open", text="it"),
            ],
        ),
        TrafficRow(prompt="y", responses=[Response(model="nameless", text="x")]),
        TrafficRow(id="c", prompt="", responses=[Response(model="m", text="x")]),
        TrafficRow(id="d", prompt="z", responses=[Response(model="m", text="x", score=7)]),
        TrafficRow(id="e", prompt="z", responses=[Response(model="m", text="other")]),
    ]
    traffic.write(tmp_path / "a.jsonl", rows)
    write_labels(tmp_path, [Label(id="a", score=1.0, model="labelled", log="a.jsonl")])
    write_labels(tmp_path, [Label(id="e", score=1.0, model="m", log="b.jsonl")])
    skips = Skips()
    found = list(unlabelled(tmp_path, skips))
    assert [(one.id, one.model, one.log, one.text) for one in found] == [
        ("a", "open", "a.jsonl", "it"),
        ("e", "m", "a.jsonl", "other"),
    ]
    assert skips.counts == {
        "an answer without text": 1,
        "a row without an id": 1,
        "the log keeps no text": 1,
        "score out of range": 1,
    }
    assert [one.id for one in unlabelled(tmp_path, Skips(), limit=1)] == ["a"]


async def test_counting_calls_nobody() -> None:
    """All the output that is allowed counts."""
    client = CountingClient(len)
    answer = await client.complete(
        ModelCall(model="m", request=make_request("12345"), max_tokens=8)
    )
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (12, 8)
    assert (client.calls, client.prompt_tokens, client.completion_tokens) == (1, 12, 8)
    await client.aclose()
    assert isinstance(client, Client)


async def test_fields_of_the_rung_go_with_every_call() -> None:
    """Those of the call win."""
    inner = ScriptedClient({"m": [reply("x")]})
    client = WithFields(inner, {"seed": 1, "top_k": 2})
    await client.complete(ModelCall(model="m", request=make_request("x"), extra={"seed": 3}))
    assert inner.calls[0].extra == {"seed": 3, "top_k": 2}
    await client.aclose()
    assert isinstance(client, Client)
