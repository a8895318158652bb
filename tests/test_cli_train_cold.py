"""`cascade train` before there are labels: what it says, what it leaves behind, and who refuses it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cascade import Cascade
from cascade.cli import main
from scorers.cold_start import load_cold_start

from . import traffic


def run(*arguments: str) -> int:
    """Run the command line in this process; return its exit code."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return int(ended.value.code or 0)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log of 60 rows, ten of them labelled."""
    made = traffic.rows(60)
    for row in made[10:]:
        for response in row.responses:
            response.score = None
    return traffic.write(tmp_path / "log.jsonl", made)


@pytest.fixture
def cold(log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """What is made of it."""
    assert run("train", str(log), "-o", str(tmp_path / "cold")) == 0
    capsys.readouterr()
    return tmp_path / "cold"


def ladder(folder: Path, log: Path, scorer: Path) -> Path:
    """Write a ladder over the log, with a threshold that sends two of five on."""
    file = folder / "ladder.yaml"
    file.write_text(
        f"providers: {{log: {{kind: recorded, path: {log}}}}}\nladder:\n"
        f"  - {{model: small, provider: log, price: {{input: 1, output: 1}}, accept: 0.4}}\n"
        f"  - {{model: large, provider: log, price: {{input: 9, output: 9}}}}\n"
        f"scorer: {{kind: trained, path: {scorer}}}\n"
    )
    return file


def test_too_few_labels_give_a_ranking(
    log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says what it is, what it is not, and what labels would buy."""
    out = tmp_path / "cold"
    assert run("train", str(log), "-o", str(out)) == 0
    said = capsys.readouterr().out
    assert "no scorer: 10 of 10 rows have a score of small" in said
    assert "small: ranked by log-probability among 60 answers" in said
    assert "a ranking, not a probability" in said
    assert "cold start: 10 labelled rows" in said
    assert "15 more labelled rows make a first scorer possible" in said
    assert load_cold_start(out).models == ("small", "large")


def test_json_says_that_it_is_no_probability(
    log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And is one object."""
    arguments = ("train", str(log), "--models", "small", "--json", "-o", str(tmp_path / "cold"))
    assert run(*arguments) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["kind"] == "cold start"
    assert told["probability"] is False
    assert [m["name"] for m in told["models"]] == ["small"]


def test_nothing_is_tuned_promised_or_replayed_with_it(
    log: Path, cold: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each command says why."""
    policy = tmp_path / "policy.yaml"
    tune = ("tune", str(log), "--scorer", str(cold), "--quality", "0.9", "-o", str(policy))
    report = ("report", str(log), "--scorer", str(cold), "-o", str(tmp_path / "report.html"))
    for arguments in (tune, report):
        assert run(*arguments) != 0
        told = " ".join(capsys.readouterr().err.split())
        assert "a ranking made without labels, not a probability" in told
    assert not policy.exists()


def test_a_trained_scorer_is_not_overwritten(
    pair_scorer: Path, log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The ranking is worth less."""
    assert run("train", str(log), "-o", str(pair_scorer)) != 0
    assert "holds a trained scorer" in " ".join(capsys.readouterr().err.split())


def test_labels_replace_it(cold: Path, tmp_path: Path) -> None:
    """The same folder holds the scorer once there are labels."""
    log = traffic.write(tmp_path / "labelled.jsonl", traffic.rows(30))
    assert run("train", str(log), "-o", str(cold)) == 0
    assert json.loads((cold / "manifest.json").read_text())["kind"] == "cascade scorer"


def test_check_says_that_it_ranks(
    log: Path, cold: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a note: the file is good."""
    assert run("check", str(ladder(tmp_path, log, cold))) == 0
    assert "is a ranking, not a probability" in " ".join(capsys.readouterr().out.split())


@pytest.mark.anyio
async def test_a_threshold_is_the_share_sent_on(log: Path, cold: Path, tmp_path: Path) -> None:
    """0.4 sends about 40 % to the next rung, whose answers are kept; explain says that it ranks."""
    sent = 0
    async with Cascade.from_yaml(ladder(tmp_path, log, cold)) as engine:
        for row in traffic.rows(60):
            result = await engine.ask(row.prompt)
            sent += result.model == "large"
            assert "ranks among the model's logged answers" in result.explain()
    assert 0.3 <= sent / 60 <= 0.5
