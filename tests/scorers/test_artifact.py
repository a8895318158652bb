"""Artifacts: what comes back is what was saved, and what is hostile or does not fit is refused."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cascade.errors import ScorerError
from scorers.artifact import load
from scorers.dataset import collect, read_dataset
from scorers.training import train
from scorers.trees import check_trees

from .. import traffic

PAIR = ("small", "large")


@pytest.fixture
def copy(pair_scorer: Path, tmp_path: Path) -> Path:
    """A copy of an artifact to do harm to."""
    return Path(shutil.copytree(pair_scorer, tmp_path / "scorer"))


def seal(folder: Path, **changed: Any) -> None:
    """Write the manifest so that its digests are right again, as an attacker would."""
    file = folder / "manifest.json"
    manifest = json.loads(file.read_text())
    manifest["files"] = {
        p.name: hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.iterdir())
        if p.name != "manifest.json"
    }
    file.write_text(json.dumps(manifest | changed))


def rewrite(folder: Path, name: str, change: Callable[[str], str]) -> None:
    """Change a text file and seal the artifact again."""
    file = folder / name
    before = file.read_text()
    after = change(before)
    assert after != before
    file.write_text(after)
    seal(folder)


def refused(folder: Path, *said: str) -> None:
    """The artifact is refused, with these words and without a traceback of another kind."""
    with pytest.raises(ScorerError) as failed:
        load(folder)
    for words in said:
        assert words in str(failed.value)


def test_what_comes_back_is_what_was_saved(pair_scorer: Path) -> None:
    """Scores, manifest and version."""
    artifact = load(pair_scorer)
    assert artifact.models == PAIR
    assert artifact.version.startswith("trained/")
    assert artifact.separates == {"small": True, "large": True}
    manifest = artifact.manifest
    assert manifest["data"]["fitted_on"] == 210
    assert manifest["calibration"] == "beta"
    assert [m["conclusion"] for m in manifest["models"]] == ["separates", "separates"]
    assert manifest["models"][0]["mean_cost_usd"] == pytest.approx(1e-4)
    assert manifest["created"] == "2026-01-01T00:00:00Z"
    assert {"lightgbm", "numpy"} <= set(manifest["libraries"])


def test_rows_of_the_training_get_their_out_of_fold_scores(pair_scorer: Path) -> None:
    """And other rows those of the model, in one call."""
    artifact = load(pair_scorer, PAIR)
    known = [traffic.as_read(r) for r in traffic.rows(30)]
    fresh = [traffic.as_read(r) for r in traffic.rows(10, seed=5, start=900)]
    data = read_dataset([*fresh, *known])
    q, seen = artifact.scores(data, np.arange(40))
    assert seen.tolist() == [False] * 10 + [True] * 30
    direct = artifact.model.probabilities(data, np.arange(40))
    np.testing.assert_array_equal(q[:, :10], direct[:, :10])
    at = np.searchsorted(artifact.keys, data.keys[10:])
    np.testing.assert_array_equal(q[:, 10:], artifact.out_of_fold[:, at])
    assert np.abs(q[:, 10:] - direct[:, 10:]).max() > 0.01


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    """Apart from when it was made."""
    made = traffic.rows(60)
    for name, when in (("a", "2026-01-01"), ("b", "2026-02-02")):
        train(collect(made), PAIR, seeds=1).save(tmp_path / name, created=when)
    a, b = tmp_path / "a", tmp_path / "b"
    assert {p.name for p in a.iterdir()} == {p.name for p in b.iterdir()}
    for file in a.iterdir():
        if file.name != "manifest.json":
            assert file.read_bytes() == (b / file.name).read_bytes()
    first, second = (json.loads((p / "manifest.json").read_text()) for p in (a, b))
    assert (first.pop("created"), second.pop("created")) == ("2026-01-01", "2026-02-02")
    assert first == second
    assert load(a).version == load(b).version


def test_saving_replaces_a_scorer_and_nothing_else(pair_scorer: Path, tmp_path: Path) -> None:
    """A folder of somebody's files is left alone."""
    trained = train(collect(traffic.rows(40)), PAIR, seeds=1)
    target = tmp_path / "scorer"
    shutil.copytree(pair_scorer, target)
    version = trained.save(target, created="now")
    assert load(target).version == version
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.tex").write_text("x")
    with pytest.raises(ScorerError, match="is there and is not a scorer"):
        trained.save(mine, created="now")
    assert [p.name for p in mine.iterdir()] == ["thesis.tex"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine", "scorer"]


def test_a_missing_scorer_says_how_to_make_one(tmp_path: Path) -> None:
    """No folder, or one that is no scorer."""
    refused(tmp_path / "none", "no such scorer", "cascade train LOG -o")
    refused(tmp_path, "is not a scorer", "manifest.json is missing")


def test_models_that_are_not_known_are_named(pair_scorer: Path) -> None:
    """The ladder's models must all be the scorer's; it may have more."""
    assert load(pair_scorer, ["large"]).models == PAIR
    with pytest.raises(ScorerError, match="was not trained on huge; it knows small, large"):
        load(pair_scorer, ["small", "huge"])


@pytest.mark.parametrize("name", ["model.json", "arrays.npz", "oof.npz", "tree_0.txt"])
def test_missing_and_damaged_files_are_named(copy: Path, name: str) -> None:
    """A file that is gone, cut off, or of one other byte."""
    data = (copy / name).read_bytes()
    (copy / name).write_bytes(data[: len(data) // 2])
    refused(copy, name, "damaged")
    (copy / name).write_bytes(data[:-9] + b"X" + data[-8:])
    refused(copy, name, "damaged")
    (copy / name).unlink()
    refused(copy, name, "missing")


@pytest.mark.parametrize("name", ["model.json", "arrays.npz", "oof.npz", "tree_0.txt"])
def test_damage_is_found_without_the_digests_too(copy: Path, name: str) -> None:
    """Half a file with the right digest is refused as what it is."""
    data = (copy / name).read_bytes()
    (copy / name).write_bytes(data[: len(data) // 2])
    seal(copy)
    refused(copy, "cannot be read")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"format": 2}, "format 2; this version reads up to 1: upgrade"),
        ({"format": "x"}, "format 'x'"),
        ({"feature_version": 999}, "features of version 999"),
        ({"features": {"prompt": ["a"], "answer": []}}, "train again"),
        ({"kind": "recipe"}, "is not the manifest of a scorer"),
        ({"models": [{"name": "small"}]}, "lacks what a scorer states"),
        ({"files": {}}, "lacks what a scorer states"),
        ({"probe": [0.5]}, "gives other scores here"),
        ({"probe": ["x"]}, "do not fit together"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_manifests_that_do_not_fit_are_refused(
    copy: Path, changed: dict[str, Any], said: str
) -> None:
    """Another format, other features, or parts that are missing."""
    file = copy / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changed))
    refused(copy, said)


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, '{"kind": NaN}', "\x00"])
def test_manifests_that_are_none_are_refused(copy: Path, text: str) -> None:
    """Whatever the text is."""
    (copy / "manifest.json").write_text(text)
    refused(copy, "manifest.json")


class Bomb:
    """Leaves a file behind when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("pwned"),))


def test_a_pickle_in_an_array_is_not_opened(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither as an object array nor in the place of the file."""
    monkeypatch.chdir(tmp_path)
    with np.load(copy / "arrays.npz") as archive:
        arrays = dict(archive)
    name = next(iter(arrays))
    arrays[name] = np.array([Bomb()], dtype=object)
    np.savez(copy / "arrays.npz", **arrays)
    seal(copy)
    refused(copy, "cannot be read")
    for file in ("arrays.npz", "oof.npz"):
        (copy / file).write_bytes(pickle.dumps(Bomb()))
        seal(copy)
        refused(copy, "cannot be read")
    assert not (tmp_path / "pwned").exists()


def test_a_file_that_unpacks_to_more_than_memory_is_refused(copy: Path) -> None:
    """Sizes are added up before anything is unpacked."""
    with zipfile.ZipFile(copy / "oof.npz", "a", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("huge.npy", "w", force_zip64=True) as file:
            file.write(b"x")
        info = archive.getinfo("huge.npy")
        info.file_size = 1 << 40
    seal(copy)
    refused(copy, "would take")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('"$class":"HeadSet"', '"$class":"Popen"'),
        ('"$class":"Judge"', '"$class":"Stack"'),
        ('"$tree":"tree_0.txt"', '"$tree":"../../etc/passwd"'),
        ('"$tree":"tree_0.txt"', '"$tree":"tree_999.txt"'),
        ('"$array":"a0"', '"$array":"a99999"'),
        ('"target":0', '"target":1'),
        ('"target":0', '"target":"x"'),
        ('"$shared":0', '"$shared":77'),
        ('"models"', '"mo"'),
        ('["small","large"]', '["small","small"]'),
        ('["small","large"]', '["small",["large"]]'),
    ],
)
def test_models_with_foreign_parts_are_refused(copy: Path, before: str, after: str) -> None:
    """Classes, files and fields that are not those of a scorer."""
    if before not in (copy / "model.json").read_text():
        before = before.replace('"$array":"a0"', '"$array": "a0"')
    rewrite(copy, "model.json", lambda text: text.replace(before, after, 1))
    refused(copy, str(copy) if "target" not in before else "")


def test_arrays_of_another_shape_are_refused(copy: Path) -> None:
    """A model whose parts cannot be multiplied is found when it is loaded, not by the first ask."""
    with np.load(copy / "arrays.npz") as archive:
        arrays = dict(archive)
    largest = max(arrays, key=lambda name: arrays[name].size)
    arrays[largest] = np.zeros(3)
    np.savez_compressed(copy / "arrays.npz", **arrays)
    seal(copy)
    refused(copy)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.replace("left_child=1", "left_child=0", 1), "not below its node"),
        (lambda t: t.replace("left_child=1", "left_child=9", 1), "not below its node"),
        (lambda t: t.replace("num_cat=0", "num_cat=1", 1), "numerical splits"),
        (lambda t: t.replace("is_linear=0", "is_linear=1", 1), "numerical splits"),
        (lambda t: t.replace("num_leaves=7", "num_leaves=9", 1), "is not"),
        (lambda t: t.replace("decision_type=2", "decision_type=1", 1), "kind of split"),
        (lambda t: t.replace("tree_sizes=", "tree_sizes=9", 1), "unexpected"),
        (lambda t: t.replace("Tree=1\n", "Tree=7\n", 1), "tree_sizes do not match"),
        (lambda t: t.replace("num_class=1", "num_class=4", 1), "unexpected header"),
        (lambda t: t.replace("end of trees", "end of tales", 1), "cut off"),
        (lambda t: "import os\n" + t, "does not begin"),
        (lambda t: t.replace("leaf_value=", "leaf_value=nan ", 1), "is not"),
    ],
    ids=range(12),
)
def test_trees_that_could_lead_astray_are_refused(
    copy: Path, change: Callable[[str], str], said: str
) -> None:
    """LightGBM's parser would follow them; it never sees them."""
    rewrite(copy, "tree_0.txt", change)
    refused(copy, "tree_0.txt", said)


def test_real_trees_pass(pair_scorer: Path) -> None:
    """The check knows what LightGBM writes."""
    files = list(pair_scorer.glob("tree_*.txt"))
    assert files
    assert all(check_trees(file.read_text()) > 20 for file in files)


def one_tree(**changed: str) -> str:
    """Return a model of one tree of two nodes over three features."""
    fields = {
        "num_leaves": "3",
        "num_cat": "0",
        "split_feature": "0 2",
        "split_gain": "1 1",
        "threshold": "0.5 inf",
        "decision_type": "2 10",
        "left_child": "1 -1",
        "right_child": "-2 -3",
        "leaf_value": "0.1 0.2 0.3",
        "leaf_weight": "1 1 1",
        "leaf_count": "9 9 9",
        "internal_value": "0 0",
        "internal_weight": "0 0",
        "internal_count": "27 18",
        "is_linear": "0",
        "shrinkage": "1",
    }
    tree = "\n".join(["Tree=0", *(f"{k}={v}" for k, v in (fields | changed).items())]) + "\n\n\n"
    head = (
        "tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nlabel_index=0\n"
        "max_feature_idx=2\nobjective=cross_entropy\nfeature_names=Column_0 Column_1 Column_2\n"
        f"feature_infos=[0:1] [0:1] [0:1]\ntree_sizes={len(tree)}\n"
    )
    return f"{head}\n{tree}end of trees\n"


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("split_feature", "0 3", "a feature that is not there"),
        ("split_feature", "0 -1", "a feature that is not there"),
        ("split_feature", "0", "split_feature is not 2 whole numbers"),
        ("left_child", "1 0", "not below its node"),
        ("left_child", "-1 -1", "a node with two parents"),
        ("right_child", "-2 -4", "not below its node"),
        ("right_child", "-2 2", "not below its node"),
        ("right_child", "-2 99999999999", "right_child is not 2 whole numbers"),
        ("threshold", "nan 1", "threshold is not 2 numbers"),
        ("leaf_value", "0.1 inf 0.3", "leaf_value is not 3 numbers"),
        ("leaf_value", "0.1 0.3", "leaf_value is not 3 numbers"),
        ("num_leaves", "1000", "1000 leaves"),
        ("num_leaves", "0", "0 leaves"),
        ("decision_type", "2 3", "a kind of split"),
        ("cat_boundaries", "0 1", "unexpected 'cat_boundaries'"),
    ],
)
def test_a_tree_is_checked_field_by_field(field: str, value: str, said: str) -> None:
    """Children, features, sizes and values."""
    assert check_trees(one_tree()) == 3
    with pytest.raises(ValueError, match=said):
        check_trees(one_tree(**{field: value}))


def test_names_that_lead_out_of_the_folder_are_refused(copy: Path) -> None:
    """The manifest names files of the folder only."""
    manifest = json.loads((copy / "manifest.json").read_text())
    files = manifest["files"] | {"../secret": "0" * 64}
    (copy / "manifest.json").write_text(json.dumps(manifest | {"files": files}))
    refused(copy, "'../secret' is not a file of a scorer")


def test_out_of_fold_scores_that_are_none_are_refused(copy: Path) -> None:
    """Probabilities are in [0, 1], keys sorted."""
    with np.load(copy / "oof.npz") as archive:
        keys, q = archive["keys"], archive["q"]
    for bad_keys, bad_q in ((keys, q + 1), (keys[::-1], q), (keys, q[:, 1:]), (keys, q * np.nan)):
        np.savez(copy / "oof.npz", keys=bad_keys, q=bad_q)
        seal(copy)
        refused(copy, "oof.npz")
