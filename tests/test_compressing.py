"""Prompt compression in the engine: what is sent, when it pays, and what is told of it."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from cascade import (
    AllRungsFailed,
    Cascade,
    ConfigError,
    DeadlineExceeded,
    Price,
    PromptOverBudget,
    RequestError,
    ServerFailed,
)
from cascade.build import check_file
from cascade.compress import Dedupe, Evidence, EvidenceGate, Extract, Minify, Pipeline
from cascade.compress.evidence import StageVerdict
from cascade.compressing import RungCompression
from cascade.testing import ListSink, ScriptedClient, reply
from cascade.types import Answer, Compressed, Compression, ModelCall, Request

from .ladders import engine, two_rungs

pytestmark = pytest.mark.anyio

QUESTION = "Question: Who keeps up the pumping station?"
PADDED = "  and          so          on  \n\n\n\n" * 60 + "It is kept up by farmers.\n\n" + QUESTION
PRICE = Price(input=10.0, output=10.0)


def minifying(**options: Any) -> RungCompression:
    """Lossless minification at a price that makes it worth it."""
    return RungCompression(compressor=Pipeline([Minify()]), **({"price": PRICE} | options))


async def ask(compress: dict[int, RungCompression], prompt: str = PADDED, **answers: Any) -> Any:
    """Ask a ladder of two rungs; return the result, what was sent, and the record."""
    ladder, client, sink = engine(
        answers.get("small", reply("Farmers.", confidence=0.9)),
        answers.get("large", reply("The farmers.")),
        compress=compress,
    )
    async with ladder:
        result = await ladder.ask(prompt)
    return result, client.calls, sink.records[0]


async def test_a_rung_is_sent_the_shorter_prompt_and_all_tell_of_it() -> None:
    """Attempt, record and `explain` say the tokens before and after, and what was removed."""
    result, calls, record = await ask({0: minifying()})
    assert len(calls[0].request.prompt) < len(PADDED) / 2
    assert calls[0].request.prompt.endswith(QUESTION)
    told = result.attempts[0].answer.compression
    assert told.tokens_after < told.tokens_before
    assert record["attempts"][0]["compression"]["stages"][0]["name"] == "minify"
    assert record["attempts"][0]["compression"]["tokens_after"] == told.tokens_after
    assert "compressed from" in result.explain()
    assert "minify:" in result.explain()


async def test_escalation_sends_the_whole_prompt() -> None:
    """The ladder is the safety net: the next rung reads what the user wrote."""
    unsure = reply("Sheep?", confidence=0.1)
    result, calls, _ = await ask({0: minifying(), 1: minifying()}, small=unsure)
    assert calls[0].request.prompt != PADDED
    assert calls[1].request.prompt == PADDED
    assert "sent whole" in result.attempts[1].answer.compression.note


async def test_escalation_can_be_compressed_too() -> None:
    """With `escalated` the next rung gets the shorter prompt as well."""
    unsure = reply("Sheep?", confidence=0.1)
    _, calls, _ = await ask({1: minifying(escalated=True)}, small=unsure)
    assert calls[0].request.prompt == PADDED
    assert calls[1].request.prompt != PADDED


@pytest.mark.parametrize(
    ("options", "note"),
    [
        ({"price": None}, "price unknown"),
        ({"price": Price(input=0.0001, output=1.0)}, "too short to pay"),
        ({"price": Price(input=0.022, output=1.0)}, "saved too little"),
    ],
)
async def test_nothing_is_done_where_it_does_not_pay(options: dict[str, Any], note: str) -> None:
    """A rung without a price, or with one too low, is sent the prompt as it is, and says why."""
    result, calls, _ = await ask({0: minifying(**options)})
    assert calls[0].request.prompt == PADDED
    assert note in result.attempts[0].answer.compression.note


async def test_with_no_least_saving_a_rung_without_a_price_is_compressed() -> None:
    """0 means: any saving, whatever the price."""
    _, calls, _ = await ask({0: minifying(price=None, min_saving_usd=0.0)})
    assert calls[0].request.prompt != PADDED


async def test_a_compressor_that_fails_costs_nobody_an_answer() -> None:
    """The prompt is sent as it is, and the note says what happened."""

    class Broken:
        version = "broken"

        def compress(self, request: Request, **options: object) -> Compressed:
            raise ZeroDivisionError

    result, calls, _ = await ask({0: RungCompression(compressor=Broken(), price=PRICE)})
    assert calls[0].request.prompt == PADDED
    assert "ZeroDivisionError" in result.attempts[0].answer.compression.note


async def test_a_refused_prompt_fails_its_rung_and_the_next_is_sent_all_of_it() -> None:
    """`refuse` is about one rung; another one may still answer."""
    strict = Pipeline([Extract(5, when_over="refuse")])
    refusing = RungCompression(compressor=strict, price=PRICE)
    result, calls, _ = await ask({0: refusing})
    assert isinstance(result.attempts[0].error, RequestError)
    assert [call.model for call in calls] == ["large"]
    assert calls[0].request.prompt == PADDED


async def test_a_call_that_fails_keeps_what_was_done_to_its_prompt() -> None:
    """Attempt, record and `explain` tell it: what failed was the call with the shorter prompt."""
    down = ServerFailed("down", provider="p", model="small", status=500)
    result, calls, record = await ask({0: minifying()}, small=down)
    failed = result.attempts[0]
    assert failed.verdict == "failed"
    assert failed.compression.tokens_after < failed.compression.tokens_before
    assert len(calls[0].request.prompt) < len(PADDED) / 2
    assert record["attempts"][0]["compression"]["tokens_after"] == failed.compression.tokens_after
    assert "compression" not in record["attempts"][1]
    assert result.explain().count("compressed from") == 1


async def test_a_call_that_is_cut_by_the_deadline_keeps_it_too() -> None:
    """There is no answer and no error of the call's own that could carry it."""

    class Silent:
        async def complete(self, call: ModelCall) -> Answer:
            await anyio.sleep_forever()
            raise AssertionError

        async def aclose(self) -> None:
            pass

    sink = ListSink()
    async with Cascade(
        two_rungs(), {"p": Silent()}, sink=sink, compress={0: minifying()}
    ) as ladder:
        with pytest.raises(DeadlineExceeded) as caught:
            await ladder.ask(PADDED, deadline_s=0.2)
    assert caught.value.attempts[0].compression is not None
    assert sink.records[0]["attempts"][0]["compression"]["stages"][0]["name"] == "minify"


def refusing(budget: int = 5, **options: Any) -> RungCompression:
    """Extraction to a budget that refuses what cannot be kept within it."""
    strict = Extract(budget, when_over="refuse", place="compress[0].extract")
    return RungCompression(compressor=Pipeline([strict]), price=PRICE, **options)


async def test_a_refused_rung_is_passed_over_and_the_next_has_its_own_setting() -> None:
    """Nothing was sent, so the next rung is the first: it is compressed as it says itself."""
    result, calls, record = await ask({0: refusing(), 1: minifying()})
    assert result.attempts[0].verdict == "skipped"
    assert result.attempts[0].cost_usd == 0.0
    assert record["attempts"][0]["error"]["type"] == "PromptOverBudget"
    assert [call.model for call in calls] == ["large"]
    assert calls[0].request.prompt != PADDED


async def test_a_ladder_whose_every_rung_refuses_says_budget_size_and_place() -> None:
    """Nothing is sent, nothing is paid, and every cause can be told from others."""
    ladder, client, sink = engine("unused", compress={0: refusing(), 1: refusing(4)})
    async with ladder:
        with pytest.raises(AllRungsFailed) as caught:
            await ladder.ask(PADDED)
    first, second = caught.value.exceptions
    assert isinstance(first, PromptOverBudget)
    assert isinstance(second, PromptOverBudget)
    assert (first.budget, second.budget) == (5, 4)
    assert first.least_tokens >= first.protected_tokens > 5
    assert (first.place, first.mostly) == ("compress[0].extract", "messages[0]")
    assert "compress[0].extract: what must be kept is about" in str(caught.value)
    assert "over the budget of 5;" in str(caught.value)
    assert PADDED.split()[-1] not in str(caught.value)
    assert caught.value.cost_usd == 0.0
    assert client.calls == []
    assert [attempt["verdict"] for attempt in sink.records[0]["attempts"]] == ["skipped"] * 2


def test_a_refused_prompt_can_be_pickled() -> None:
    """Errors cross processes with all they say."""
    error = PromptOverBudget(budget=5, least_tokens=9, protected_tokens=8, place="extract")
    error.add_note("kept")
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.budget, again.place) == (str(error), 5, "extract")
    assert again.__notes__ == ["kept"]


async def test_long_prompts_are_compressed_off_the_event_loop() -> None:
    """A prompt over the limit takes the way through a worker thread, with the same result."""
    _, calls, _ = await ask({0: minifying()}, PADDED * 40)
    assert len(calls[0].request.prompt) < len(PADDED) * 20


async def test_the_ladders_version_says_how_prompts_are_shortened() -> None:
    """A cached answer to a compressed prompt is none to the whole one."""
    plain = two_rungs().version
    versions = {
        engine("x", compress={0: RungCompression(compressor=Pipeline([stage]), price=PRICE)})[
            0
        ].ladder.version
        for stage in (Minify(), Dedupe(), Dedupe(near=True))
    }
    assert len(versions | {plain}) == 4
    assert engine("x")[0].ladder.version == plain


async def test_the_providers_count_corrects_ours() -> None:
    """After a call, what was billed is learned from."""
    pipeline = Pipeline([Minify()])
    told = RungCompression(compressor=pipeline, price=PRICE, learn=pipeline.counter.learn)
    billed = reply("Farmers.", confidence=0.9, prompt_tokens=100_000)
    await ask({0: told}, small=billed)
    assert pipeline.counter.correction("small") == 3.0


def test_whether_it_pays_is_reckoned_in_billed_tokens() -> None:
    """A provider that bills twice our count makes a saving worth twice as much."""
    done = Compression(tokens_before=1_000, tokens_after=400)
    rung = minifying(min_saving_usd=0.009)
    assert not rung.pays(done, "small")
    assert minifying(min_saving_usd=0.009, correction=lambda model: 2.0).pays(done, "small")


def ladder_file(folder: Path, compress: str, rung: str = "") -> Path:
    """A ladder of recorded answers with prompt compression."""
    row = {
        "prompt": PADDED,
        "responses": [
            {"model": "small", "text": "Farmers.", "prompt_tokens": 9, "completion_tokens": 2}
        ],
    }
    (folder / "log.jsonl").write_bytes(msgspec.json.encode(row) + b"\n")
    file = folder / "ladder.yaml"
    file.write_text(
        "providers: {log: {kind: recorded, path: log.jsonl}}\n"
        f"ladder: [{{model: small, provider: log, price: {{input: 5, output: 5}}{rung}}}]\n"
        f"scorer: {{kind: none}}\ncompress: {compress}\n"
    )
    return file


async def asked(file: Path, prompt: str = PADDED) -> Request:
    """Ask the ladder of a file; return the request that is sent."""
    client = ScriptedClient({"small": [reply("Farmers.")]})
    async with Cascade.from_yaml(file, clients={"log": client}, sink=ListSink()) as ladder:
        await ladder.ask(prompt)
    return client.calls[0].request


async def test_a_ladder_file_sets_the_stages(tmp_path: Path) -> None:
    """A list of stages is enough."""
    sent = await asked(ladder_file(tmp_path, "[minify, dedupe]"))
    assert len(sent.prompt) < len(PADDED) / 2


async def test_a_rung_may_say_otherwise(tmp_path: Path) -> None:
    """`compress: false` at a rung wins over the ladder."""
    sent = await asked(ladder_file(tmp_path, "[minify]", ", compress: false"))
    assert sent.prompt == PADDED


LONG = "\n\n".join(
    f"The {i}th bench was painted blue, and the town was glad of it." for i in range(200)
)
LONG += "\n\nFarmers keep up the pumping station.\n\n" + QUESTION


async def test_a_lossy_stage_is_off_without_evidence(tmp_path: Path) -> None:
    """`cascade check` warns of it, and the prompt is sent whole."""
    file = ladder_file(tmp_path, "[{extract: {budget: 500}}]")
    assert (await asked(file, LONG)).prompt == LONG
    notes: list[str] = []
    check_file(file, on_note=notes.append)
    assert any("compress: extract is off: no evidence" in note for note in notes)


@pytest.mark.parametrize(
    ("compress", "place"),
    [
        ("[minify, {extract: STRICT}]", r"compress\[1\]\.extract: "),
        ("{stages: [{extract: STRICT}]}", r"compress\.stages\[0\]\.extract: "),
    ],
)
async def test_a_refusal_says_where_in_the_file_its_budget_is(
    tmp_path: Path, compress: str, place: str
) -> None:
    """As a key path, which is how `cascade check` tells of mistakes."""
    strict = "{budget: 5, when_over: refuse, even_without_evidence: true}"
    file = ladder_file(tmp_path, compress.replace("STRICT", strict))
    with pytest.raises(AllRungsFailed, match=place):
        await asked(file, LONG)


async def test_a_lossy_stage_runs_on_the_users_word(tmp_path: Path) -> None:
    """`even_without_evidence` switches it on, and nothing is warned of."""
    file = ladder_file(tmp_path, "[{extract: {budget: 500, even_without_evidence: true}}]")
    assert len((await asked(file, LONG)).prompt) < len(LONG) / 3
    notes: list[str] = []
    check_file(file, on_note=notes.append)
    assert notes == []


@pytest.mark.parametrize(
    ("evidence", "is_run"),
    [
        ("compress: {extract: {cluster: all, allowed: true}}", True),
        (
            "compress: {extract: [{cluster: other, allowed: true}, {cluster: '*', allowed: false}]}",
            False,
        ),
        (
            "compress: {extract: [{cluster: all, allowed: false}, {cluster: '*', allowed: true}]}",
            False,
        ),
        ("compress: {dedupe: {allowed: true}}", False),
    ],
)
async def test_evidence_switches_a_stage_on_where_it_is(
    tmp_path: Path, evidence: str, is_run: bool
) -> None:
    """What `cascade tune --compress` found holds for the kinds of prompts that it names."""
    (tmp_path / "found.yaml").write_text(evidence)
    file = ladder_file(tmp_path, "{stages: [{extract: {budget: 500}}], evidence: found.yaml}")
    assert (len((await asked(file, LONG)).prompt) < len(LONG)) is is_run


async def test_evidence_that_is_none_is_told(tmp_path: Path) -> None:
    """A broken file is an error with its place."""
    (tmp_path / "found.yaml").write_text("compress: {extract: [{cluster: all}]}")
    file = ladder_file(tmp_path, "{stages: [{extract: {budget: 500}}], evidence: found.yaml}")
    with pytest.raises(ConfigError, match=r"compress.extract\[0\]: allowed: a mapping"):
        await asked(file)


def test_the_gates_version_says_what_it_lets_through() -> None:
    """Evidence is part of what a ladder is."""
    found = Evidence([StageVerdict(stage="extract", allowed=True)], version="1")
    gates = (EvidenceGate(), EvidenceGate(found), EvidenceGate(found, ["history"]))
    assert len({gate.version for gate in gates}) == 3
