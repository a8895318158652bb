"""`cascade tune` and `cascade replay`, from a log to a policy that a ladder runs."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest

from cascade import Cascade
from cascade.build import check_file
from cascade.cli import main
from cascade.errors import LadderError
from cascade.policies import RandomShare, uniform
from cascade.replay import policy_file

MODELS = ("small", "middle", "large")
WORDS = [a + b for a in ("ba", "do", "fi", "gu", "ke") for b in ("lt", "rn", "sk", "mp", "ven")]
PRICES = {"small": 1.0, "middle": 4.0, "large": 20.0}


def log_rows(n: int, split: str, seed: int) -> list[dict[str, Any]]:
    """Sums that get harder; the better a model, the more of them it gets right."""
    rng = random.Random(seed)
    rows = []
    for i in range(n):
        hard = rng.random()
        a, b = rng.randrange(10, 99), rng.randrange(10, 99)
        responses = []
        for model, skill in zip(MODELS, (0.5, 0.7, 0.95), strict=True):
            right = hard < skill
            said = a + b if right else a + b + rng.randrange(1, 9)
            responses.append(
                {
                    "model": model,
                    "text": f"The answer is {said}." if right else f"I think it might be {said}",
                    "score": float(right),
                    "prompt_tokens": 20,
                    "completion_tokens": 10,
                    "cost_usd": PRICES[model] * 1e-4,
                }
            )
        things = " ".join(rng.sample(WORDS, 4))  # else all prompts are one near-duplicate
        prompt = f"Ann has {a} {things} and gets {b} more. How many has she?"
        row = {"id": f"{split}-{i}", "prompt": prompt, "split": split, "responses": responses}
        rows.append(row)
    return rows


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of two splits."""
    path = tmp_path_factory.mktemp("log") / "log.jsonl"
    rows = log_rows(110, "train", 0) + log_rows(80, "test", 1)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def run(arguments: Sequence[str | Path]) -> int:
    """Run the command; return its exit code."""
    try:
        main([str(a) for a in arguments])
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def said(capsys: pytest.CaptureFixture[str], arguments: Sequence[str | Path]) -> Any:
    """Run the command, which must succeed, and return the JSON it printed."""
    assert run([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.fixture(scope="module")
def scorer(log: Path) -> Path:
    """A scorer trained on the first split."""
    folder = log.parent / "scorer"
    assert run(["train", log, "-o", folder, "--models", ",".join(MODELS)]) == 0
    return folder


def test_fields_that_are_not_known_are_told_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By tune and by replay, in one line, with the rows that have them."""
    rows = log_rows(60, "train", 0) + log_rows(20, "test", 1)
    for row in rows[:45]:
        row["grade"] = row["responses"][0]["note"] = 1
    odd = tmp_path / "log.jsonl"
    odd.write_text("".join(json.dumps(row) + "\n" for row in rows))
    line = "ignored: field 'grade' in 45 rows, field 'responses[].note' in 45 rows\n"
    assert run(["tune", odd, "--quality", "0.9", "-o", tmp_path / "p.yaml"]) == 0
    assert capsys.readouterr().err.count(line) == 1
    assert run(["replay", odd, "--policy", tmp_path / "p.yaml"]) == 0
    assert capsys.readouterr().err.count(line) == 1


def test_tune_then_replay(
    log: Path, scorer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What tune writes, replay reads, with the fields of the architecture page."""
    policy, frontier = tmp_path / "p.yaml", tmp_path / "f.json"
    common = [log, "--scorer", scorer]
    wanted = ["tune", *common, "--quality", "0.95", "-o", policy, "--frontier", frontier]
    tuned = said(capsys, wanted)
    assert tuned["quality"] >= 0.95 * tuned["quality_of_strongest"]
    assert tuned["saving"] > 0
    one = said(capsys, ["replay", *common, "--policy", policy, "--split", "test"])
    assert one["n"] == 80
    assert one["strongest"] == "large"
    assert one["lift"] is None
    assert sum(one["calls"].values()) >= 80
    many = said(capsys, ["replay", *common, "--policy", frontier])
    assert many["split"] == "test"
    assert len(many["points"]) == len(tuned["frontier"])
    assert many["lift"] > 0
    assert many["lift_ci"][0] <= many["lift"] <= many["lift_ci"][1]
    for level, saved in many["saving_at"].items():
        low, high = many["saving_at_ci"][level]
        assert low - 1e-9 <= saved <= high + 1e-9
    assert one["cost_ratio"] == pytest.approx(1 - one["saving"])
    gap = (one["quality"] - one["quality_of_strongest"]) / one["quality_of_strongest"]
    assert one["quality_gap"] == pytest.approx(gap)
    assert set(many) >= {
        *("n", "quality", "quality_ci", "cost_usd", "strongest", "quality_of_strongest", "saving"),
        *("calls", "strong_share", "lift", "saving_at", "points", "cache_hits", "unknown"),
        *("apgr", "cpt50", "cpt80", "aiq"),
    }
    for command in (["replay", *common, "--policy", frontier], wanted):
        assert run(command) == 0
    assert "large" in capsys.readouterr().out


def test_replay_says_which_rows_were_seen_before(
    log: Path, scorer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Figures on the rows of tuning flatter the policy, and those of training the scorer."""
    policy = tmp_path / "p.yaml"
    common = [log, "--scorer", scorer]
    assert run(["tune", *common, "--quality", "0.9", "-o", policy]) == 0
    tuned_on, trained_on = "was tuned on these very rows", "was trained on 110 of 110 rows"
    capsys.readouterr()
    same = ["replay", *common, "--policy", policy, "--split", "train"]
    assert run([*same, "--json"]) == 0
    out, err = capsys.readouterr()
    assert tuned_on in err
    assert trained_on in err
    assert [tuned_on in line for line in json.loads(out)["told"]] == [True, False]
    assert said(capsys, ["replay", *common, "--policy", policy, "--split", "test"])["told"] == []


def test_questions_that_stand_in_two_splits_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By tune and by replay, under whatever id and with whatever spaces."""
    rows = log_rows(60, "train", 0) + log_rows(20, "test", 1)
    for row, other in zip(rows[60:67], rows, strict=False):
        row["prompt"] = f" {other['prompt']}".upper()
    twice, policy = tmp_path / "log.jsonl", tmp_path / "p.yaml"
    twice.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run(["tune", twice, "--quality", "0.9", "-o", policy]) == 0
    assert "7 of 60 rows ask what rows of split 'test' ask too" in capsys.readouterr().err
    assert run(["replay", twice, "--policy", policy]) == 0
    assert "7 of 20 rows ask what rows of split 'train' ask too" in capsys.readouterr().err


def test_a_promise_is_written_into_the_policy(
    log: Path, scorer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With its ratio, confidence and rows; other rows may be named for it."""
    policy = tmp_path / "p.yaml"
    goal = ["--quality", "0.8", "--confidence", "0.8", "-o", policy]
    told = said(capsys, ["tune", log, "--scorer", scorer, *goal])["promise"]
    assert told["certified"]
    assert 0 < told["n"] < 110
    assert "80% confidence" in policy.read_text()
    assert run(["tune", log, "--scorer", scorer, *goal, "--certify", log]) == 2
    assert "ask what a tuning row asks" in capsys.readouterr().err


def test_a_tuned_policy_runs_in_a_ladder(
    log: Path, scorer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And a ladder that lacks one of its models is a mistake with a line."""
    policy = tmp_path / "p.yaml"
    said(
        capsys, ["tune", log, "--models", "small,middle,large", "--budget", "0.0005", "-o", policy]
    )
    rungs = "\n".join(f"  - {{model: {m}, provider: log, unknown: accept}}" for m in MODELS)
    text = f"providers:\n  log: {{kind: recorded, path: {log}}}\nladder:\n{rungs}\npolicy: p.yaml\n"
    (tmp_path / "ladder.yaml").write_text(text)
    assert len(check_file(tmp_path / "ladder.yaml")) == 3
    for model in MODELS:
        (tmp_path / "less.yaml").write_text(
            text.replace(f"  - {{model: {model}, provider: log, unknown: accept}}\n", "")
        )
        if model in policy.read_text().split("provenance")[0]:
            with pytest.raises(LadderError, match=f"{model}.*not a model of a rung"):
                check_file(tmp_path / "less.yaml")


def test_a_ladder_runs_the_policy_with_its_own_scorer_only(
    log: Path, scorer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The winning policy loads beside the scorer it was tuned with, and beside no other."""
    policy = tmp_path / "p.yaml"
    said(capsys, ["tune", log, "--scorer", scorer, "--tradeoff", "0.01", "-o", policy])
    rungs = "\n".join(f"  - {{model: {m}, provider: log}}" for m in MODELS)
    (tmp_path / "ladder.yaml").write_text(
        f"providers:\n  log: {{kind: recorded, path: {log}}}\nladder:\n{rungs}\n"
        f"scorer: {{kind: trained, path: {scorer}}}\npolicy: p.yaml\n"
    )
    assert len(check_file(tmp_path / "ladder.yaml")) == 3
    policy.write_text("kind: fixed\nmodel: small\nscorer: trained/other\n")
    with pytest.raises(LadderError, match="was tuned with the scorer trained/other"):
        check_file(tmp_path / "ladder.yaml")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--quality", "3"], "out of reach"),
        (["--budget", "1e-9"], "below the cheapest"),
        ([], "0 goals given"),
        (["--quality", "0.9", "--budget", "1"], "2 goals given"),
        (["--quality", "0.9", "--models", "small,huge"], "not in the log: huge"),
        (["--quality", "0.9", "--split", "dev"], "it has test: 80 rows, train: 110 rows"),
        (["--quality", "0.9", "--confidence", "95"], "--confidence 95 is not between 0 and 1"),
    ],
)
def test_wrong_wishes_are_refused_with_numbers(
    log: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    told: str,
) -> None:
    """Exit code 2, and no policy is written."""
    policy = tmp_path / "p.yaml"
    assert run(["tune", log, *arguments, "-o", policy]) == 2
    assert told in capsys.readouterr().err
    assert not policy.exists()


def test_a_model_without_a_price_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the option that gives one."""
    rows = log_rows(60, "train", 0)
    for row in rows:
        for response in row["responses"]:
            del response["cost_usd"]
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run(["tune", path, "--quality", "0.9", "-o", tmp_path / "p.yaml"]) == 2
    assert "no price is known for small, middle, large" in capsys.readouterr().err


def test_a_policy_of_another_scorer_is_refused(
    log: Path, scorer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its thresholds mean nothing there."""
    policy = tmp_path / "p.yaml"
    policy.write_text("kind: fixed\nmodel: small\nscorer: trained/other\n")
    assert run(["replay", log, "--scorer", scorer, "--policy", policy]) == 2
    assert "was tuned with the scorer trained/other" in capsys.readouterr().err


def test_mistakes_in_a_policy_file_have_lines(
    log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in ladder files."""
    policy = tmp_path / "p.yaml"
    policy.write_text("kind: routing\nmodels: [small]\ncost_usd: [1]\n")
    assert run(["replay", log, "--policy", policy]) == 2
    assert "tradeoff_usd" in capsys.readouterr().err
    policy.write_text("kind: fixed\nmodel: huge\n")
    assert run(["replay", log, "--policy", policy]) == 2
    assert "names huge; allowed: small, middle, large" in capsys.readouterr().err


def test_the_umask_says_who_may_read_what_was_written(tmp_path: Path) -> None:
    """A report holds prompts: it is as private as any file the user makes."""
    before = os.umask(0o077)
    try:
        policy_file.write_whole(tmp_path / "private", "x")
    finally:
        os.umask(before)
    assert (tmp_path / "private").stat().st_mode & 0o777 == 0o600


def test_an_interrupt_leaves_no_half_written_policy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was there before stays as it was, and no other file is left behind."""
    path = tmp_path / "p.yaml"
    policy_file.write_whole(path, "old")

    def interrupt(handle: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(policy_file.os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        policy_file.write_whole(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["p.yaml"]


def test_a_log_left_to_chance_gives_estimates(
    log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A decision log of a random split holds one answer a request: the rest is bounded and estimated."""
    rows = [row for i in range(4) for row in log_rows(150, str(i), i)]
    random_split = RandomShare(weak="small", strong="large", share=0.5)
    records = []
    for row in rows:
        rung = 0 if uniform(row["id"], random_split.seed) < 0.5 else 2
        answer = row["responses"][rung]
        attempt = {
            **{k: answer[k] for k in ("model", "text", "score", "cost_usd")},
            "rung": rung,
            "verdict": "accepted",
            "action": "stop",
            "probabilities": {"stop": 1.0},
        }
        message = {"role": "user", "content": row["prompt"]}
        records.append(
            {
                "schema": 1,
                "kind": "decision",
                "id": row["id"],
                "messages": [message],
                "opening": {"call:0": 0.5, "call:2": 0.5},
                "attempts": [attempt],
            }
        )
    path = tmp_path / "decisions.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    policy = tmp_path / "p.yaml"
    policy.write_text("kind: fixed\nmodel: large\n")
    told = said(capsys, ["replay", path, "--policy", policy])
    truth = sum(row["responses"][2]["score"] for row in rows) / len(rows)
    assert told["n"] + told["unknown"] == 600
    assert 250 < told["unknown"] < 350
    low, high = told["quality_bounds"]
    assert low < truth < high
    assert told["estimate"]["snips"] == pytest.approx(truth, abs=0.05)
    assert told["estimate"]["effective"] == told["n"]


def test_the_promise_can_be_tested_on_another_split_of_the_log(
    log: Path, scorer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rows that neither scorer nor search has seen, without a file of their own."""
    wanted = ["tune", log, "--scorer", scorer, "--quality", "0.8", "--confidence", "0.8"]
    tuned = said(capsys, [*wanted, "--certify-split", "test", "-o", tmp_path / "p.yaml"])
    assert tuned["promise"]["n"] == 80
    assert tuned["n"] == 110
    assert not any("its calibration has seen them" in line for line in tuned["told"])


def test_tune_says_whose_answers_the_scorer_cannot_judge(
    log: Path, scorer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The artifact knows, and whoever tunes with it is told."""
    blind = tmp_path / "scorer"
    shutil.copytree(scorer, blind)
    manifest = json.loads((blind / "manifest.json").read_text())
    for model in manifest["models"]:
        model["separates"] = model["name"] != "middle"
    (blind / "manifest.json").write_text(json.dumps(manifest))
    tuned = said(capsys, ["tune", log, "--scorer", blind, "--quality", "0.9", "-o", tmp_path / "p"])
    assert any("right from wrong answers of middle:" in line for line in tuned["told"])


def test_a_scorer_for_other_models_is_refused_with_that_reason(
    log: Path, scorer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not with a word about scores that are missing."""
    other = tmp_path / "other.jsonl"
    other.write_text(log.read_text().replace('"middle"', '"medium"'))
    assert run(["tune", other, "--scorer", scorer, "--quality", "0.9", "-o", tmp_path / "p"]) == 2
    assert "not in the log: middle; it has" in capsys.readouterr().err


def test_a_random_policy_draws_in_replay_as_it_does_live(
    log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the request, not by the id that the log happens to give it."""
    policy = tmp_path / "p.yaml"
    policy.write_text("kind: random_share\nweak: small\nstrong: large\nshare: 0.5\nseed: 3\n")
    ladder = tmp_path / "ladder.yaml"
    rungs = "".join(f"  - {{model: {m}, provider: log}}\n" for m in ("small", "large"))
    ladder.write_text(
        f"version: 1\nproviders: {{log: {{kind: recorded, path: {log}}}}}\nladder:\n{rungs}"
        f"policy: {policy}\n"
    )
    told = said(capsys, ["replay", log, "--policy", policy, "--split", "test"])
    rows = [json.loads(line) for line in log.read_text().splitlines()]

    async def live() -> int:
        async with Cascade.from_yaml(ladder) as engine:
            results = [await engine.ask(row["prompt"]) for row in rows if row["split"] == "test"]
            return sum(result.attempts[0].model == "large" for result in results)

    assert told["calls"]["large"] == anyio.run(live)


def test_a_decision_log_without_text_can_be_replayed_without_a_scorer(
    log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Costs and labels are all that single models need; prompts are the user's secrets."""
    ladder, folder = tmp_path / "ladder.yaml", tmp_path / "decisions"
    rungs = "  - {model: large, provider: log}\n"
    ladder.write_text(
        f"version: 1\nproviders: {{log: {{kind: recorded, path: {log}}}}}\nladder:\n{rungs}"
        f"log: {{path: {folder}}}\n"
    )
    rows = [json.loads(line) for line in log.read_text().splitlines()][:60]

    async def live() -> list[str]:
        async with Cascade.from_yaml(ladder) as engine:
            return [(await engine.ask(row["prompt"])).id for row in rows]

    labels = tmp_path / "labels.csv"
    labels.write_text("id,score\n" + "".join(f"{id},1\n" for id in anyio.run(live)))
    assert run(["log", "label", labels, "--path", folder]) == 0
    capsys.readouterr()
    policy = tmp_path / "p.yaml"
    policy.write_text("kind: fixed\nmodel: large\n")
    told = said(capsys, ["replay", folder, "--policy", policy])
    assert (told["n"], told["quality"]) == (60, 1.0)
