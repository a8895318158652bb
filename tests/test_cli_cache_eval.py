"""`cascade cache eval` and `cascade train-pairs`: what they print, what they refuse."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from cascade.cli import main
from scorers.pair_corpus import generate_pairs

KEYS = [
    *("n", "duplicates", "hits", "recall", "false_hit_rate", "false_hit_ci"),
    "refused_by",
]

PAIRS = [
    ("How do I learn Python?", "What is the best way to learn Python?", True),
    ("Why is the sky blue?", "What makes the sky blue?", True),
    ("Is 5 km far?", "Is 50 km far?", False),
    ("Is 5 km far?", "Is 5 miles far?", False),
    ("Which birds can fly?", "Which birds cannot fly?", False),
    ("What is the weather today?", "What is the weather today?", True),
]


def run(*arguments: str | Path) -> int:
    """Run the command line in this process; return its exit code."""
    with pytest.raises(SystemExit) as ended:
        main([str(a) for a in arguments])
    return int(ended.value.code or 0)


def write(path: Path, pairs: list[tuple[str, str, bool]]) -> Path:
    """Write labelled pairs, gzipped if the name says so."""
    lines = "".join(json.dumps({"a": a, "b": b, "duplicate": d}) + "\n" for a, b, d in pairs)
    path.write_bytes(gzip.compress(lines.encode()) if path.suffix == ".gz" else lines.encode())
    return path


def generated(n: int, seed: int) -> list[tuple[str, str, bool]]:
    """Return generated pairs."""
    return [(p.a, p.b, p.duplicate) for p in generate_pairs(n, seed=seed)]


def printed(capsys: pytest.CaptureFixture[str]) -> tuple[dict[str, Any], str]:
    """Return the one JSON object on stdout, and stderr."""
    said, told = capsys.readouterr()
    assert said.count("\n") == 1
    return json.loads(said), told


def test_eval_prints_what_would_have_come_of_the_pairs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exactly the stated keys; pairs are counted once a guard that refuses them."""
    assert run("cache", "eval", write(tmp_path / "p.jsonl.gz", PAIRS), "--json") == 0
    found, told = printed(capsys)
    assert list(found) == KEYS
    assert (found["n"], found["duplicates"], found["hits"]) == (6, 3, 2)
    assert found["recall"] == pytest.approx(2 / 3)
    assert found["false_hit_rate"] == 0.0
    assert found["false_hit_ci"][0] == 0.0
    assert 0.8 < found["false_hit_ci"][1] < 0.9
    assert found["refused_by"] == {"numbers": 1, "units": 1, "negation": 1, "time_dependent": 1}
    assert "threshold" in told


def test_eval_prints_words_without_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For a reader."""
    assert run("cache", "eval", write(tmp_path / "p.jsonl", PAIRS)) == 0
    said = capsys.readouterr().out
    assert "6 pairs, 3 of them duplicates" in said
    assert "hits 2, recall 66.67% of the duplicates" in said
    assert "refused by negation: 1" in said


def test_a_false_hit_counts_among_the_hits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The rate's denominator is hits, not pairs."""
    wrong = [(a, b, False) for a, b, _ in PAIRS[:2]] + [(PAIRS[0][1], PAIRS[0][0], True)]
    assert run("cache", "eval", write(tmp_path / "p.jsonl", wrong), "--json") == 0
    found, _ = printed(capsys)
    assert (found["hits"], found["false_hit_rate"]) == (3, pytest.approx(2 / 3))
    assert found["recall"] == 1.0


@pytest.mark.parametrize("label", [True, False])
def test_pairs_of_one_kind_are_evaluated(
    label: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without duplicates there is no recall; without hits the rate is 0, in [0, 1]."""
    pairs = [("Why do cats purr?", "What is entropy?", label)] * 3
    assert run("cache", "eval", write(tmp_path / "p.jsonl", pairs), "--json") == 0
    found, _ = printed(capsys)
    assert found["recall"] == (0.0 if label else None)
    assert (found["false_hit_rate"], found["false_hit_ci"]) == (0.0, [0.0, 1.0])


def test_fit_takes_all_files_behind_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The pairs evaluated are those before it, and a shared text is told."""
    asked = write(tmp_path / "asked.jsonl", generated(300, 5))
    first = write(tmp_path / "a.jsonl", generated(500, 1))
    second = write(tmp_path / "b.jsonl.gz", generated(500, 2))
    assert (
        run("cache", "eval", asked, "--fit", first, second, "--false-hits", "0.05", "--json") == 0
    )
    found, told = printed(capsys)
    assert found["n"] == 300
    assert found["hits"] > 30
    assert found["false_hit_ci"][0] <= 0.05
    assert "share a text with the training pairs" in told
    assert "5.00% false hits at 95% confidence" in told


def test_too_few_training_pairs_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With what is needed."""
    asked = write(tmp_path / "asked.jsonl", PAIRS)
    few = write(tmp_path / "few.jsonl", generated(150, 1))
    one = write(tmp_path / "one.jsonl", [(a, b, True) for a, b, _ in generated(300, 1)])
    for train in (few, one):
        assert run("cache", "eval", asked, "--fit", train) == 2
        assert "at least 200 are needed, and 25 of each kind" in capsys.readouterr().err


def test_lines_that_are_no_pairs_are_told_with_file_and_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are passed over; the rest is evaluated."""
    path = tmp_path / "p.jsonl"
    good = json.dumps({"a": "Why do cats purr?", "b": "Why do cats purr?", "duplicate": True})
    bad = [
        "{",
        "[1]",
        '{"a": "x", "b": "y"}',
        '{"b": "y", "duplicate": true}',
        '{"a": 3, "b": "y", "duplicate": true}',
        '{"a": "x", "b": " ", "duplicate": true}',
        '{"a": "x", "b": "y", "duplicate": 2}',
        '{"a": "x", "b": "y", "duplicate": "yes"}',
    ]
    path.write_text("\n".join([good, *bad, good]) + "\n")
    assert run("cache", "eval", path, "--json") == 0
    found, told = printed(capsys)
    assert found["n"] == 2
    for words in (
        f"skipped 1 lines: not JSON; the first: {path}:2",
        f"not an object; the first: {path}:3",
        f"no `duplicate`; the first: {path}:4",
        f"no `a`; the first: {path}:5",
        f"`a` is not text; the first: {path}:6",
        f"`b` is empty; the first: {path}:7",
        f"skipped 2 lines: `duplicate` is neither true nor false; the first: {path}:8",
    ):
        assert words in told


def test_a_file_without_a_pair_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Empty, missing, or of something else."""
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    assert run("cache", "eval", empty) == 2
    assert f"{empty}: no labelled pair in it" in capsys.readouterr().err
    other = tmp_path / "other.jsonl"
    other.write_text('{"prompt": "x"}\n')
    assert run("train-pairs", other, "-o", tmp_path / "out") == 2
    assert f"{other}:1: no `a`" in capsys.readouterr().err
    assert run("cache", "eval", tmp_path / "missing.jsonl") == 2
    assert "No such file" in capsys.readouterr().err


def test_a_gzip_file_cut_short_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the line where it ends."""
    path = write(tmp_path / "p.jsonl.gz", generated(400, 1))
    path.write_bytes(path.read_bytes()[:-200])
    assert run("cache", "eval", path) == 2
    assert "gzip data is cut short or damaged" in capsys.readouterr().err


def test_a_megabyte_of_text_is_refused_quickly(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As too long, not by an error."""
    text = "word " * 200_000
    path = write(tmp_path / "p.jsonl", [(text, text, True), *PAIRS])
    assert run("cache", "eval", path, "--json") == 0
    found, _ = printed(capsys)
    assert found["n"] == 7
    assert found["refused_by"]["too_long"] == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("cache", "eval"),
        ("cache", "eval", "{pairs}", "--fit"),
        ("cache", "eval", "--fit", "{pairs}"),
        ("cache", "eval", "{pairs}", "--false-hits", "1.5"),
        ("cache", "eval", "{pairs}", "--fit", "{pairs}", "--scorer", "x"),
        ("train-pairs", "{pairs}"),
    ],
    ids=lambda a: " ".join(a),
)
def test_wrong_usage_ends_with_2(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """Nothing is fitted."""
    pairs = write(tmp_path / "p.jsonl", PAIRS)
    assert run(*(a.format(pairs=pairs) for a in arguments)) == 2


def test_a_trained_scorer_can_be_evaluated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same as fitting it on the way; training twice gives the same version."""
    pairs = write(tmp_path / "p.jsonl", generated(500, 1))
    asked = write(tmp_path / "asked.jsonl", generated(200, 9))
    options = ("--false-hits", "0.05", "--json")
    assert run("train-pairs", pairs, "-o", tmp_path / "one", *options) == 0
    first, told = printed(capsys)
    assert first["rows"] == 500
    assert first["promised"] in (0.05, 0.1)
    assert "100%" in told or "%" in told
    assert run("train-pairs", pairs, "-o", tmp_path / "two", *options) == 0
    assert printed(capsys)[0]["version"] == first["version"]
    assert run("cache", "eval", asked, "--scorer", tmp_path / "one", "--json") == 0
    kept = printed(capsys)[0]
    assert run("cache", "eval", asked, "--fit", pairs, *options) == 0
    assert printed(capsys)[0] == kept


def test_train_pairs_overwrites_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before it trains."""
    pairs = write(tmp_path / "p.jsonl", generated(300, 1))
    assert run("train-pairs", pairs, "-o", tmp_path) == 2
    assert "is not a pair scorer; name another folder" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["static", "minilm"])
def test_an_embedder_is_used_or_asked_for(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without its packages the message says how to install it."""
    from cascade.errors import ScorerError
    from scorers.embedders import open_embedder

    pairs = write(tmp_path / "p.jsonl", PAIRS)
    try:
        open_embedder(kind)  # type: ignore[arg-type]
    except ScorerError:
        assert run("cache", "eval", pairs, "--embed", kind) == 2
        assert "pip install 'cascade-ask[" in capsys.readouterr().err
        return
    assert run("cache", "eval", pairs, "--embed", kind, "--json") == 0
    assert printed(capsys)[0]["hits"] >= 1


def test_embed_without_a_name_takes_the_best_that_is_installed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What follows it is not taken for a name; the one taken is told."""
    from cascade.errors import ScorerError
    from scorers.embedders import best_embedder, kind_of

    pairs = write(tmp_path / "p.jsonl", PAIRS)
    try:
        kind = kind_of(best_embedder().name)
    except ScorerError as exc:
        pytest.skip(str(exc))
    assert run("cache", "eval", "--embed", pairs, "--json") == 0
    told = capsys.readouterr()
    assert f"embedder: {kind}" in told.err
    assert json.loads(told.out)["n"] == len(PAIRS)
    assert run("cache", "eval", pairs, "--embed=word2vec") == 2
    assert "static, minilm" in capsys.readouterr().err


def test_train_pairs_states_its_embedder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The scorer is used with it unasked, and with no other."""
    from cascade.errors import ScorerError
    from scorers.embedders import open_embedder

    try:
        open_embedder("static")
    except ScorerError as exc:
        pytest.skip(str(exc))
    pairs = write(tmp_path / "p.jsonl", generated(300, 1))
    mine = tmp_path / "mine"
    assert run("train-pairs", pairs, "-o", mine, "--embed", "static", "--false-hits", "0.2") == 0
    assert (
        json.loads((mine / "manifest.json").read_text())["vectors"] == "wordllama/l2_supercat_256"
    )
    capsys.readouterr()
    assert run("cache", "eval", pairs, "--scorer", mine, "--json") == 0
    alone = printed(capsys)[0]
    assert run("cache", "eval", pairs, "--scorer", mine, "--embed", "static", "--json") == 0
    assert printed(capsys)[0] == alone
