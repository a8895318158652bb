"""`cascade train`: what it prints, what it leaves behind, what it refuses, and a ladder that uses it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cascade import Cascade, LadderError
from cascade.build import check_file
from cascade.cli import main
from cascade.records import TrafficRow
from scorers.artifact import load

from . import traffic

SHARED = Path(__file__).parent.parent.parent / "shared" / "data"


def run(*arguments: str) -> int:
    """Run the command line in this process; return its exit code."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return int(ended.value.code or 0)


def plain(row: TrafficRow) -> dict[str, Any]:
    """Return a row as the JSON of a log."""
    found: dict[str, Any] = msgspec.to_builtins(row)
    return found


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log of 60 training rows and 20 of another split."""
    made = [*traffic.rows(60, split="train"), *traffic.rows(20, seed=3, start=60, split="test")]
    return traffic.write(tmp_path / "log.jsonl", made)


def test_training_prints_what_the_scorer_is_worth(
    log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Tables on stdout, and an artifact that loads."""
    out = tmp_path / "scorer"
    assert run("train", str(log), "-o", str(out)) == 0
    said, told = capsys.readouterr()
    assert "on 60 training rows" in said
    for words in ("AUROC", "Brier", "ECE", "base rate", "mean log-probability", "after"):
        assert words in said
    assert "few labels: 60 rows" in said
    assert "50 more labelled rows would buy" in said
    assert f"saved {out}" in said
    assert "100%" in told
    artifact = load(out, ["small", "large"])
    assert artifact.models == ("small", "large")
    assert artifact.manifest["split"] is None
    assert len(artifact.keys) == 60


def test_json_is_one_object(log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the split asked for, and the same bytes for the same seed."""
    arguments = ("train", str(log), "--json", "--report-split", "test", "--explain")
    assert run(*arguments, "-o", str(tmp_path / "a")) == 0
    first = json.loads(capsys.readouterr().out)
    assert first["held_out"] == "20 rows of split 'test'"
    assert first["rows"] == 60
    assert [m["name"] for m in first["models"]] == ["small", "large"]
    assert 0 <= first["models"][0]["auroc"] <= 1
    assert first["features"] == []  # linear heads only below 150 rows
    assert run(*arguments, "-o", str(tmp_path / "b")) == 0
    second = json.loads(capsys.readouterr().out)
    assert first | {"scorer": ""} == second | {"scorer": ""}


def test_prices_of_a_file_order_the_ladder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Over the catalogue; `cost_usd` in the log would win."""
    made = traffic.rows(40)
    for row in made:
        for response in row.responses:
            response.cost_usd = None
    log = traffic.write(tmp_path / "log.jsonl", made)
    prices = tmp_path / "prices.json"
    prices.write_text(
        json.dumps({"small": {"input": 9, "output": 9}, "large": {"input": 1, "output": 1}})
    )
    assert run("train", str(log), "-o", str(tmp_path / "s"), "--prices", str(prices)) == 0
    models = load(tmp_path / "s").manifest["models"]
    assert [m["name"] for m in models] == ["large", "small"]
    assert models[0]["price"] == {"input": 1.0, "output": 1.0}
    capsys.readouterr()
    assert run("train", str(log), "-o", str(tmp_path / "t")) == 0
    assert "no model has a price" in capsys.readouterr().err


def test_rows_that_cannot_be_used_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Skipped ones with the first of them, left out ones with the reason."""
    made: list[Any] = [plain(row) for row in traffic.rows(44)]
    made[3]["responses"][0]["score"] = 7
    made[4]["responses"].append(made[4]["responses"][0])
    made[5]["responses"][1]["score"] = None
    made[6]["id"] = made[7]["id"]
    for response in made[8]["responses"]:
        response["score"] = None
    for line in made[:20]:
        line["grade"] = 3
    log = traffic.write(tmp_path / "log.jsonl", made)
    assert run("train", str(log), "-o", str(tmp_path / "s")) == 0
    told = capsys.readouterr().err
    assert told.count("ignored: field 'grade' in 20 rows\n") == 1
    assert "skipped 1 rows: score out of range; the first:" in told
    assert f"{log}:4:" in told
    assert "a model twice in one row" in told
    assert "an id twice" in told
    assert "left out 1 rows: no score" in told
    assert "40 rows have some label, 39 one of every model" in told
    assert "40 of small, 39 of large" in told


@pytest.mark.parametrize(
    ("made", "code", "said"),
    [
        ([], 1, "no row to train on"),
        (traffic.rows(10), 1, "10 of 10 rows have a score of small"),
        (traffic.rows(30, split="dev"), 2, "no row is of split 'train'; the log has dev: 30 rows"),
        ([{"prompt": "x"}], 2, "not a row of a traffic log"),
    ],
    ids=["no rows", "ten rows", "no such split", "no traffic log"],
)
def test_logs_that_cannot_be_trained_on_are_refused(
    made: list[Any], code: int, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One message, nothing written."""
    log = traffic.write(tmp_path / "log.jsonl", made)
    assert run("train", str(log), "-o", str(tmp_path / "s")) == code
    assert said in capsys.readouterr().err
    assert not (tmp_path / "s").exists()


def test_one_class_and_missing_scores_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing to tell apart, or nothing known."""
    made = traffic.rows(40)
    for row in made:
        for response in row.responses:
            response.score = 1.0
    log = traffic.write(tmp_path / "same.jsonl", made)
    assert run("train", str(log), "-o", str(tmp_path / "s")) == 1
    assert "both right answers" in capsys.readouterr().err
    for row in made:
        for response in row.responses:
            response.score = response.logprobs = response.top_logprobs = None
            response.text = "42"
    log = traffic.write(tmp_path / "none.jsonl", made)
    assert run("train", str(log), "-o", str(tmp_path / "s")) == 1
    told = capsys.readouterr().err
    assert "40 × no score" in told
    assert "not ranked without labels either: small: the median answer is 1 words long" in told
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--models", "small,huge"), "huge not in the log; known: small, large"),
        (("--models", "small,small"), "names small twice"),
        (("--models", ","), "--models is empty"),
        (("--split", "dev"), "--split: no row is of split 'dev'; the log has test: 20 rows"),
        (("--report-split", "dev"), "--report-split: no row is of split 'dev'"),
        (("--prices", "none.json"), "--prices none.json: no such file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_wrong_usage_is_told(
    log: Path,
    arguments: tuple[str, ...],
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Exit code 2, and what is allowed."""
    assert run("train", str(log), "-o", str(tmp_path / "s"), *arguments) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{",
        '{"m": 3}',
        '{"m": {"input": -1, "output": 1}}',
        '{"m": {"input": "x", "output": 1}}',
    ],
)
def test_prices_that_are_none_are_refused(
    log: Path, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message names the file, and the model."""
    prices = tmp_path / "prices.json"
    prices.write_text(text)
    assert run("train", str(log), "-o", str(tmp_path / "s"), "--prices", str(prices)) == 2
    assert "--prices" in capsys.readouterr().err


def test_somebodys_folder_is_refused_before_training(
    log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not after minutes of work."""
    assert run("train", str(log), "-o", str(tmp_path)) == 2
    assert "is there and is not a scorer" in capsys.readouterr().err


def ladder_file(folder: Path, log: Path, scorer: str, models: str = "small large") -> Path:
    """Write a ladder over a recorded log."""
    rungs = "".join(
        f"  - {{model: {m}, provider: log, price: {{input: 1, output: 1}}, accept: 0.7}}\n"
        for m in models.split()
    )
    file = folder / "ladder.yaml"
    file.write_text(
        f"providers: {{log: {{kind: recorded, path: {log}}}}}\nladder:\n{rungs}scorer: {scorer}\n"
    )
    return file


@pytest.mark.anyio
async def test_a_ladder_asks_with_what_was_trained(pair_scorer: Path, tmp_path: Path) -> None:
    """From a recorded log through the artifact to an answer, scored as in a batch."""
    made = traffic.rows(40, seed=21, start=3_000)
    log = traffic.write(tmp_path / "log.jsonl", made)
    file = ladder_file(tmp_path, log, f"{{kind: trained, path: {pair_scorer}}}")
    assert len(check_file(file)) == 2
    right, strong = 0, 0
    async with Cascade.from_yaml(file) as ladder:
        for row in made:
            answer = await ladder.ask(row.prompt)
            assert answer.confidence is not None
            assert 0 < answer.confidence < 1
            right += answer.text == row.responses[1].text or row.responses[0].score == 1.0
            strong += answer.rung == 1
    assert 0 < strong < 40
    assert right > 30


def test_a_ladder_with_another_model_is_refused(pair_scorer: Path, tmp_path: Path) -> None:
    """With the key path, and the model's name."""
    log = traffic.write(tmp_path / "log.jsonl", traffic.rows(2))
    scorer = f"{{kind: trained, path: {pair_scorer}}}"
    with pytest.raises(LadderError, match=r"scorer\.path: .* was not trained on huge"):
        check_file(ladder_file(tmp_path, log, scorer, "small huge"))
    with pytest.raises(LadderError, match=r"scorer\.path: .* does not exist"):
        check_file(ladder_file(tmp_path, log, "{kind: trained, path: nowhere}"))
    with pytest.raises(LadderError, match=r"scorer\.path: .* is not a scorer"):
        check_file(ladder_file(tmp_path, log, "{kind: trained, path: .}"))


def test_a_real_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Real models on word problems, 200 of the training rows."""
    source = SHARED / "routellm_gsm8k.jsonl.gz"
    if not source.exists():
        pytest.skip(f"{source} is not here")
    arguments = ("--sample", "120", "--prices", str(SHARED / "prices.json"), "--json")
    assert run("train", str(source), "-o", str(tmp_path / "s"), *arguments) == 0
    found = json.loads(capsys.readouterr().out)
    weak = found["models"][0]
    assert weak["name"] == "mixtral-8x7b-instruct-v0.1"
    assert weak["auroc"] > 0.65
    assert weak["brier"] < weak["baselines"]["base rate"]["brier"]


@pytest.mark.parametrize("given", ["32,16", "a", "", "0", "16,,32"])
def test_checkpoints_that_are_none_are_refused_before_the_log_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], given: str
) -> None:
    """The message says what is allowed."""
    missing, output = str(tmp_path / "log.jsonl"), str(tmp_path / "out")
    assert run("train", missing, "-o", output, "--prefixes", given) == 2
    said = f"--prefixes {given!r} given; allowed: whole numbers >= 1, rising: 16,32,64"
    assert said in capsys.readouterr().err
