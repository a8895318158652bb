"""Everything that `cascade check` finds out about one file, at once and each with its line."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from cascade import AllRungsFailed, Cascade, LadderError, NotRecorded, Problem, build_checks
from cascade.build import check_file, ladder_settings

GOOD_ROW = {"prompt": "2 + 2?", "responses": [{"model": "small", "text": "4"}]}


def problems_of(path: Path) -> tuple[Problem, ...]:
    """Return the mistakes in a file; fails when there are none."""
    with pytest.raises(LadderError) as caught:
        check_file(path)
    return caught.value.problems


def ladder(folder: Path, *rows: object, more: str = "", model: str = "small") -> Path:
    """Write a log of these rows (text goes in as it is), and a ladder of one model that asks it."""
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    (folder / "log.jsonl").write_text("\n".join(lines))
    path = folder / "ladder.yaml"
    path.write_text(
        "providers:\n  log: {kind: recorded, path: log.jsonl}\n"
        f"ladder:\n  - {{model: {model}, provider: log}}\n{more}"
    )
    return path


def test_mistakes_of_the_file_and_of_its_python_parts_are_told_together(tmp_path: Path) -> None:
    """One check shows all of them in the order of the file, with line, key path and what is allowed."""
    path = tmp_path / "z.yaml"
    path.write_text(
        """version: 2
providers: {p: {kind: openai}}
ladder:
  - {model: a, provider: p, accept: 1.7}
  - {model: b, provider: p}
gates:
  - not_empty
  - {python: "nosuch.mod:fn"}
  - {rgex: x}
scorer:
  kind: nosuch.mod:Scorer
  options: 3
policy:
  kind: tests.test_build_checks:ladder
colour: red
"""
    )
    found = problems_of(path)
    assert [(p.line, p.path) for p in found] == [
        (1, "version"),
        (4, "ladder[0].accept"),
        (8, "gates[1].python"),
        (9, "gates[2]"),
        (11, "scorer.kind"),
        (12, "scorer.options"),
        (13, "policy.options"),
        (15, "colour"),
    ]
    assert {p.file for p in found} == {str(path)}
    assert all(p.allowed for p in found if p.path != "policy.options")
    assert str(found[2]) == (
        f"{path}:8: gates[1].python: 'nosuch.mod:fn' cannot be imported "
        "(ModuleNotFoundError: No module named 'nosuch') (allowed: package.module:name)"
    )


@pytest.mark.parametrize(
    ("more", "line", "place"),
    [
        ("scorer:\n  kind: plugin\n  name: absent\n", 7, "scorer.name"),
        ("scorer:\n  kind: trained\n  path: .\n", 7, "scorer.path"),
        ("scorer:\n  kind: nosuch.mod:Scorer\n", 6, "scorer.kind"),
        ("policy:\n\n  kind: nosuch.mod:Policy\n", 7, "policy.kind"),
        ("policy:\n  kind: chain\n  models: [small]\n  accept: [0.5]\n", 8, "policy.accept"),
        ("policy:\n  kind: weighted\n  models: [small]\n  weights: [0.5]\n", 8, "policy.weights"),
        (
            "policy:\n  kind: induction\n  models: [small]\n  cost_usd: [1]\n  tradeoff_usd: 1\n"
            "  continuations:\n    - {seen: [], next: other, weights: [0, 0, 0, 0, 0, 0, 0]}\n"
            "scorer: {kind: 'tests.test_build:Sure'}\n",
            11,
            "policy.continuations[0]",
        ),
    ],
)
def test_a_part_that_cannot_be_made_is_told_with_its_line(
    tmp_path: Path, more: str, line: int, place: str
) -> None:
    """Where the file says it, not where the file begins."""
    found = problems_of(ladder(tmp_path, GOOD_ROW, more=more))
    assert [(p.line, p.path) for p in found] == [(line, place)]


def test_a_scorer_the_policy_was_not_tuned_with_is_told_in_the_policy_file(
    tmp_path: Path, pair_scorer: Path
) -> None:
    """Another file has lines of its own."""
    (tmp_path / "p.yaml").write_text("kind: fixed\nmodel: small\nscorer: trained/other\n")
    more = f"  - {{model: large, provider: log}}\nscorer: {{kind: trained, path: {pair_scorer}}}\npolicy: p.yaml\n"
    row = {"prompt": "?", "responses": [{"model": "small"}, {"model": "large"}]}
    found = problems_of(ladder(tmp_path, row, more=more))
    assert [(p.file, p.line, p.path) for p in found] == [(str(tmp_path / "p.yaml"), 3, "scorer")]


def test_what_a_variable_holds_is_not_told_by_the_python_checks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only its name."""
    monkeypatch.setenv("PART", "verysecret.mod:fn")
    found = problems_of(ladder(tmp_path, GOOD_ROW, more='gates: [{python: "${PART}"}]\n'))
    assert "the value of ${PART} cannot be imported (ModuleNotFoundError)" in str(found[0])
    assert "verysecret" not in str(found[0])


def test_a_missing_variable_is_the_only_thing_told_of_a_part(tmp_path: Path) -> None:
    """A constructor is not called with a gap in its options."""
    more = "scorer: {kind: 'tests.test_build:Broken', options: {key: '${NOT_SET_HERE}'}}\n"
    path = ladder(tmp_path, GOOD_ROW, more=more)
    assert [p.path for p in problems_of(path)] == ["scorer.options.key"]
    assert len(check_file(path, allow_unset=True)) == 1


def test_a_model_that_the_log_lacks_is_told_with_those_it_holds(tmp_path: Path) -> None:
    """Every ask would fail."""
    found = problems_of(ladder(tmp_path, GOOD_ROW, model="smal"))
    assert [(p.line, p.path, p.allowed) for p in found] == [(4, "ladder[0].model", "small")]
    assert found[0].message == "'log.jsonl' holds no answers of 'smal'"


def test_a_judge_that_the_log_lacks_is_told_too(tmp_path: Path) -> None:
    """It is asked as the rungs are."""
    path = ladder(tmp_path, GOOD_ROW, more="scorer: {kind: judge, model: sage, provider: log}\n")
    assert [p.path for p in problems_of(path)] == ["scorer.model"]


def test_an_empty_log_is_a_mistake(tmp_path: Path) -> None:
    """There is nothing to answer with."""
    found = problems_of(ladder(tmp_path))
    assert [(p.line, p.path) for p in found] == [(2, "providers.log.path")]
    assert found[0].message == "'log.jsonl' is empty"


def test_malformed_rows_are_told_with_their_lines(tmp_path: Path) -> None:
    """The first three, and how many more; of the models nothing is concluded."""
    rows = [GOOD_ROW, "SECRET", '{"prompt": 1}', "", *["{}"] * 6]
    found = problems_of(ladder(tmp_path, *rows, model="other"))
    assert {(p.line, p.path) for p in found} == {(2, "providers.log.path")}
    assert [p.message.partition(":")[0] for p in found] == [
        "line 2 of 'log.jsonl' is not a row of a traffic log",
        "line 3 of 'log.jsonl' is not a row of a traffic log",
        "line 5 of 'log.jsonl' is not a row of a traffic log",
        "5 more lines of 'log.jsonl' are not rows either",
    ]
    assert "SECRET" not in str(found)


def test_a_log_that_cannot_be_unpacked_is_a_mistake(tmp_path: Path) -> None:
    """With the line where it ends."""
    path = ladder(tmp_path, GOOD_ROW)
    packed = gzip.compress((json.dumps(GOOD_ROW) + "\n").encode() * 2000)
    (tmp_path / "log.jsonl").write_bytes(packed[:-20])
    found = problems_of(path)
    assert [p.path for p in found] == ["providers.log.path"]
    assert "gzip data is cut short or damaged" in found[0].message


def test_of_a_long_log_the_beginning_is_read_and_that_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that is not in it may come later, so that is a note and no mistake."""
    monkeypatch.setattr(build_checks, "CHECKED_LOG_MB", 0.0001)
    notes: list[str] = []
    path = ladder(tmp_path, GOOD_ROW, GOOD_ROW, GOOD_ROW, model="later")
    assert check_file(path, on_note=notes.append) == ["later (price unknown)"]
    assert len(notes) == 2
    assert "of log, only the first 1 rows of 'log.jsonl'" in notes[0]
    assert notes[1].endswith("hold no answers of 'later'")


@pytest.mark.anyio
async def test_an_engine_does_not_read_the_log_before_its_first_ask(tmp_path: Path) -> None:
    """Its start stays fast; what `cascade check` would have said is said then."""
    async with Cascade.from_yaml(ladder(tmp_path, GOOD_ROW, model="smal")) as engine:
        with pytest.raises(AllRungsFailed) as caught:
            await engine.ask("2 + 2?")
    assert [type(cause) for cause in caught.value.exceptions] == [NotRecorded]


def test_settings_are_read_without_what_training_has_yet_to_write(tmp_path: Path) -> None:
    """A judge labels the log that the scorer is trained on; every other mistake is still told."""
    more = "scorer: {kind: trained, path: nowhere}\npolicy: nowhere.yaml\n"
    path = ladder(tmp_path, GOOD_ROW, more=more)
    assert list(ladder_settings(path).providers) == ["log"]
    assert [p.path for p in problems_of(path)] == ["scorer.path", "policy"]
    path.write_text(path.read_text() + "colour: red\n")
    with pytest.raises(LadderError, match="colour: unknown key"):
        ladder_settings(path)


@pytest.mark.parametrize(
    ("near", "place", "told"),
    [
        ("{scorer: nowhere}", "cache.near.scorer", "'nowhere' is not a pair scorer"),
        ("{scorer: .}", "cache.near.scorer", "is not a pair scorer"),
        ("{scorer: 3}", "cache.near.scorer", "3"),
    ],
)
def test_a_pair_scorer_that_cannot_be_loaded(
    tmp_path: Path, near: str, place: str, told: str
) -> None:
    """Found by the check, not by the first ask; with line, key and what writes one."""
    path = ladder(tmp_path, GOOD_ROW, more=f"cache:\n  kind: memory\n  near: {near}\n")
    (problem,) = problems_of(path)
    assert (problem.line, problem.path) == (7, place)
    assert told in problem.message
    assert str(tmp_path) not in problem.message
    assert problem.allowed is not None


def test_a_pair_scorer_fitted_with_another_embedder(tmp_path: Path) -> None:
    """It is refused by the check too; the folder of the file is where its path starts."""
    from scorers.pair_artifact import SHIPPED

    (tmp_path / "pairs").symlink_to(SHIPPED / "static", target_is_directory=True)
    near = "{scorer: pairs, embedder: minilm}"
    path = ladder(tmp_path, GOOD_ROW, more=f"cache: {{kind: memory, near: {near}}}\n")
    (problem,) = problems_of(path)
    assert problem.path == "cache.near.scorer"
    assert "static" in problem.message


@pytest.mark.parametrize("near", ["true", "false", "{audit: 0.1}", "{scorer: '${NOT_SET_HERE}'}"])
def test_a_pair_scorer_that_can_be_loaded_or_is_not_known_yet(tmp_path: Path, near: str) -> None:
    """The one that ships with cascade, none, or one that waits for a variable."""
    path = ladder(tmp_path, GOOD_ROW, more=f"cache: {{kind: memory, near: {near}}}\n")
    assert check_file(path, allow_unset=True)
