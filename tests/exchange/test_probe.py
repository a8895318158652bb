"""What a probe buys, what it costs, what it keeps, and how answers are scored."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import msgspec
import pytest

from cascade.build_parts import same_claim
from cascade.clock import SystemClock
from cascade.compress.clusters import ONE_CLUSTER, TaskClusters, task_text
from cascade.errors import ConfigError, LogError, ServerFailed
from cascade.exchange.probe_about import ProbeAbout, StageAbout, about_path
from cascade.exchange.probe_journal import Bought, Journal
from cascade.exchange.probe_plan import (
    Asked,
    Variant,
    read_candidates,
    sample,
    split_for_fitting,
    variants_of,
)
from cascade.exchange.probe_price import mean_output, price_of, purchases_of
from cascade.exchange.probe_scores import best_answer, choose_scoring, score_rows
from cascade.exchange.probe_work import FAILURES_IN_A_ROW, Progress, buy
from cascade.exchange.skips import Skips
from cascade.intake import make_request
from cascade.ladder import Rung
from cascade.pricing import Price
from cascade.records import Response, TrafficRow
from cascade.replay.compression import decide
from cascade.replay.probe_cases import read_probes
from cascade.replay.task_clusters import fit_clusters
from cascade.tokens import TokenCounter
from tests import traffic

from .probes import FILLER, Cut, Finder, notes_log, notes_row

LOSSLESS = Cut("tidy", r"  +", lossy=False)
HARMLESS = Cut("filler", FILLER + " ?")
HARMFUL = Cut("codes", r"The locker of (Ada|Bo|Cy) has the code \d+\. ?")
STAGES = (LOSSLESS, HARMLESS, HARMFUL)
RUNG = Rung(model="small", provider="p", price=Price(input=1.0, output=2.0), max_tokens=50)
NAMES = ("plain", "compressed")


def drawn(
    log: Path,
    count: int,
    *,
    names: tuple[str, ...] = NAMES,
    seed: int = 0,
    kinds: TaskClusters = ONE_CLUSTER,
) -> list[Asked]:
    candidates = read_candidates([log], Skips(), seed=seed)
    variants = {0: variants_of(STAGES, names, "small")}
    return sample(candidates, kinds, variants, {0: RUNG}, count, counter=TokenCounter())


def test_compressed_is_all_stages_and_a_name_is_that_stage_with_the_lossless_ones() -> None:
    """In the order of the ladder."""
    whole, one = variants_of(STAGES, ("plain", "compressed", "codes"), "small")
    assert whole == Variant(name="compressed", stages=STAGES)
    assert [s.name for s in one.stages] == ["tidy", "codes"]


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (
            ("plain", "short"),
            "--variants: 'short' given; allowed: plain, compressed, filler, codes",
        ),
        (("compressed",), "--variants: give plain and at least one other of"),
        (("plain",), "--variants: give plain and at least one other of"),
        (("plain", "tidy"), "--variants: 'tidy' given"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_variants_that_mean_nothing_are_refused(names: tuple[str, ...], told: str) -> None:
    """With those there are."""
    with pytest.raises(ConfigError) as caught:
        variants_of(STAGES, names, "small")
    assert told in str(caught.value)


def test_a_ladder_without_a_lossy_stage_has_nothing_to_prove() -> None:
    """And is told so."""
    with pytest.raises(ConfigError, match="go through no lossy stage"):
        variants_of([LOSSLESS], NAMES, "small")


def test_a_larger_sample_holds_the_smaller_one_and_another_seed_is_another(tmp_path: Path) -> None:
    """So that more rows can be bought later."""
    log = notes_log(tmp_path, 60)
    small, large = drawn(log, 10), drawn(log, 30)
    assert [a.candidate.id for a in large[:10]] == [a.candidate.id for a in small]
    assert [a.candidate.id for a in drawn(log, 10, seed=1)] != [a.candidate.id for a in small]


def test_kinds_of_task_take_turns_and_none_was_fitted_on_what_is_asked(tmp_path: Path) -> None:
    """A rare task gets as many rows as a common one, as far as there are some."""
    common = [notes_row(n, task="notes") for n in range(200)]
    rare = [
        TrafficRow(
            id=f"r{n}",
            task="recipes",
            prompt=f"{FILLER} Bake {n} flour and sugar in the oven.",
            responses=[],
        )
        for n in range(100)
    ]
    log = traffic.write(tmp_path / "two.jsonl", [*common, *rare])
    candidates = read_candidates([log], Skips(), seed=0)
    fitting, fresh = split_for_fitting(candidates)
    assert 60 < len(fitting) < 120
    kinds = fit_clusters(
        [task_text(c.request.messages) for c in fitting], [c.row.task for c in fitting]
    )
    variants = {0: variants_of(STAGES, NAMES, "small")}
    asked = sample(fresh, kinds, variants, {0: RUNG}, 40, counter=TokenCounter())
    assert Counter(a.cluster for a in asked) == {"notes": 20, "recipes": 20}
    assert not {a.candidate.id for a in asked} & {c.id for c in fitting}


def test_only_prompts_that_compression_changes_are_asked(tmp_path: Path) -> None:
    """Of the others there is nothing to prove; what two variants send alike is one call."""
    short = [TrafficRow(id=f"s{n}", prompt=f"What  is {n} + {n}?", responses=[]) for n in range(20)]
    log = traffic.write(tmp_path / "log.jsonl", [*short, notes_row(1), notes_row(9, filler=0)])
    asked = {
        a.candidate.id: a for a in drawn(log, 50, names=("plain", "compressed", "filler", "codes"))
    }
    assert set(asked) == {"n1", "n9"}
    assert set(asked["n1"].purchases) == {
        "small", "small#compressed", "small#filler", "small#codes"
    }  # fmt: skip
    assert set(asked["n9"].purchases) == {"small", "small#compressed", "small#codes"}
    assert len(purchases_of(asked.values())) == 4 + 2


def test_a_log_without_text_cannot_be_asked(tmp_path: Path) -> None:
    """It says what a decision log needs."""
    log = traffic.write(tmp_path / "log.jsonl", [TrafficRow(id="a", prompt="", responses=[])])
    skips = Skips()
    with pytest.raises(LogError, match="no prompt that can be asked; a decision log needs"):
        read_candidates([log], skips, seed=0)
    assert skips.counts == {"the log keeps no text": 1}


def test_equal_prompts_are_asked_once(tmp_path: Path) -> None:
    """Whatever their ids."""
    rows = [notes_row(1), notes_row(1), notes_row(2)]
    rows[1].id = "again"
    log = traffic.write(tmp_path / "log.jsonl", rows)
    assert sorted(a.candidate.id for a in drawn(log, 10)) == ["n1", "n2"]


def test_the_price_counts_tokens_and_takes_the_logs_own_answers_for_the_output(
    tmp_path: Path,
) -> None:
    """What is bought already costs nothing more."""
    asked = drawn(notes_log(tmp_path, 30), 10)
    purchases = purchases_of(asked)
    seen = mean_output(a.candidate.row for a in asked)
    (price,) = price_of(purchases, {0: RUNG}, {purchases[0].key}, seen)
    tokens = sum(p.tokens for p in purchases[1:])
    assert (price.calls, price.bought, price.tokens_in) == (19, 1, tokens)
    assert (price.tokens_out, price.output) == (9 * 19, "its mean in the log")
    assert price.expected_usd == pytest.approx((tokens + 2 * 9 * 19) / 1e6)
    assert price.most_usd == pytest.approx((tokens + 2 * 50 * 19) / 1e6)


def test_an_unknown_price_or_length_is_refused(tmp_path: Path) -> None:
    """With what to write where."""
    purchases = purchases_of(drawn(notes_log(tmp_path, 30), 2))
    unpriced = Rung(model="small", provider="p")
    with pytest.raises(ConfigError, match=r"no price of small is known.*`price: {input"):
        price_of(purchases, {0: unpriced}, (), {})
    endless = Rung(model="small", provider="p", price=Price(input=1, output=1))
    with pytest.raises(ConfigError, match=r"how long answers of small are.*`max_tokens"):
        price_of(purchases, {0: endless}, (), {})
    (price,) = price_of(purchases, {0: endless}, (), {None: 7.0})
    assert (price.tokens_out, price.most_usd) == (28, None)


@pytest.mark.anyio
async def test_what_is_bought_is_kept_and_never_bought_again(tmp_path: Path) -> None:
    """Also after a stop in the middle."""
    asked = drawn(notes_log(tmp_path, 30), 8)
    purchases = purchases_of(asked)
    file = tmp_path / "p.bought"
    down = ServerFailed("down", provider="p", model="small", status=500)
    first, second = Finder(fail_from=6, error=down), Finder()
    for client in (first, second):
        progress = Progress()
        with Journal(file) as journal:
            for one in asked:
                journal.note_prompt(one, None)
            await buy(
                purchases,
                {"p": client},
                {0: RUNG.price},
                journal,
                progress,
                SystemClock(),
                at_once=2,
            )
    assert progress.bought == 16 - 6
    assert len(second.calls) == 10
    rows = [row for row, _ in Journal(file).rows()]
    assert len(rows) == 8
    assert all({r.model for r in row.responses} == {"small", "small#compressed"} for row in rows)
    assert all(r.cost_usd for row in rows for r in row.responses)


@pytest.mark.anyio
async def test_a_provider_that_is_down_is_given_up(tmp_path: Path) -> None:
    """And the causes are counted."""
    purchases = purchases_of(drawn(notes_log(tmp_path, 60), 30))
    down = Finder(fail_from=0, error=ServerFailed("no", provider="p", model="small", status=500))
    progress = Progress()
    with Journal(tmp_path / "p.bought") as journal:
        await buy(purchases, {"p": down}, {0: None}, journal, progress, SystemClock(), at_once=1)
    assert len(down.calls) == FAILURES_IN_A_ROW
    assert progress.stopped == "20 calls in a row failed"
    assert progress.failures == {"small: ServerFailed": 20}


def test_a_torn_last_line_costs_only_itself(tmp_path: Path) -> None:
    """As after a kill; the next line begins afresh."""
    file = tmp_path / "p.bought"
    with Journal(file) as journal:
        journal.note_answer("a", Bought(text="x"))
        journal.note_answer("b", Bought(text="y"))
    file.write_bytes(file.read_bytes()[:-9])
    with Journal(file) as journal:
        assert set(journal.answers) == {"a"}
        journal.note_answer("c", Bought(text="z"))
    assert {k: b.text for k, b in Journal(file).answers.items()} == {"a": "x", "c": "z"}


def test_another_file_is_no_journal(tmp_path: Path) -> None:
    """File and line are told."""
    file = tmp_path / "p.bought"
    file.write_text('{"key": 1}\n')
    with pytest.raises(LogError, match=r"p\.bought:1: no line of a probe's journal"):
        Journal(file)


def test_answers_are_scored_by_reference_where_that_is_how_the_log_scores(tmp_path: Path) -> None:
    """It says how well the two agree."""
    candidates = read_candidates([notes_log(tmp_path, 30)], Skips(), seed=0)
    scoring = choose_scoring("auto", candidates, same_claim)
    assert scoring.way == "reference"
    assert "what holds it word for word; on 60 answers" in scoring.told
    assert scoring.told.endswith("says the same in 100.0%")
    row = notes_row(1)
    row.responses = [
        Response(model="small", text=f"It is {row.reference}."),
        Response(model="small#compressed", text="It is 9."),
        Response(model="small#codes", text=None),
    ]
    scored = score_rows([(row, None)], scoring, lambda r: make_request(r.prompt))
    assert [r.score for r in scored[0].responses] == [1.0, 0.0, 0.0]


def test_where_references_do_not_explain_the_logs_scores_its_best_answer_counts(
    tmp_path: Path,
) -> None:
    """And that is said for what it is."""
    rows = [notes_row(n) for n in range(30)]
    for row in rows:
        row.reference = "17"
    log = traffic.write(tmp_path / "log.jsonl", rows)
    candidates = read_candidates([log], Skips(), seed=0)
    scoring = choose_scoring("auto", candidates, same_claim)
    assert scoring.way == "agreement"
    assert "not whether they are right" in scoring.told
    best = best_answer(candidates[0].row)
    assert best is not None
    assert best.startswith("The code is")
    row = candidates[0].row
    row.responses = [Response(model="small", text=best), Response(model="x", text="no 3")]
    scored = score_rows([(row, best)], scoring, lambda r: make_request(r.prompt))
    assert [r.score for r in scored[0].responses] == [1.0, 0.0]


def test_without_anything_to_score_by_a_judge_has_to() -> None:
    """`none` leaves the scores out."""
    assert choose_scoring("none", [], same_claim).way == "none"
    with pytest.raises(ConfigError, match="no row of the log has a reference"):
        choose_scoring("reference", [], same_claim)
    with pytest.raises(ConfigError, match="--score-by none, and `cascade log label`"):
        choose_scoring("auto", [], same_claim)


@pytest.mark.anyio
async def test_a_planted_harmful_stage_is_refused_and_a_harmless_one_allowed(
    tmp_path: Path,
) -> None:
    """From the log over the bought answers to the verdicts: `codes` cuts out half of what is asked for."""
    names = ("plain", "filler", "codes", "compressed")
    asked = drawn(notes_log(tmp_path, 400), 320, names=names)
    purchases = purchases_of(asked)
    with Journal(tmp_path / "p.bought") as journal:
        for one in asked:
            journal.note_prompt(one, None)
        await buy(
            purchases,
            {"p": Finder()},
            {0: RUNG.price},
            journal,
            Progress(),
            SystemClock(),
            at_once=4,
        )
        candidates = [a.candidate for a in asked]
        scoring = choose_scoring("auto", candidates, same_claim)
        rows = score_rows(journal.rows(), scoring, lambda r: make_request(r.prompt))
    file = traffic.write(tmp_path / "p.jsonl", rows)
    stages = {
        v.name: [StageAbout(name=s.name, version=s.version) for s in v.lossy]
        for v in variants_of(STAGES, names, "small")
    }
    about = ProbeAbout(
        variants={"small": stages},
        clusters=ONE_CLUSTER.to_json().decode(),
        seed=0,
        logs=["notes.jsonl"],
        scored=scoring.told,
    )
    about_path(file).write_bytes(msgspec.json.encode(about))
    probed = read_probes([file])
    assert probed.stages["small", "compressed"] == (
        ("filler", HARMLESS.version),
        ("codes", HARMFUL.version),
    )
    verdicts = {v.case.variant: v for v in decide(probed.cases, ratio=0.95, confidence=0.95)}
    assert verdicts["codes"].kept == pytest.approx(0.5, abs=0.1)
    assert {name: v.allowed for name, v in verdicts.items()} == {
        "filler": True, "codes": False, "compressed": False
    }  # fmt: skip
    assert verdicts["filler"].case.saved > 0.2
