"""A trained scorer on disk: a directory that is written in one step and refused with a reason.

``manifest.json`` says what it is, what it was made of and what it was worth; ``model.json``,
``arrays.npz`` and ``tree_*.txt`` are the model; ``oof.npz`` the scores of the training rows by
learners that had not seen them, for tuning.

Loading one from a stranger runs no code of theirs. There is no pickle: JSON names classes out of a
fixed list and exactly their fields (`codec`); arrays are read with ``allow_pickle=False``, after
their sizes have been added up; LightGBM's text is checked tree by tree before LightGBM sees it
(`trees`), because its parser trusts child and feature numbers. No file name comes from a file but
``tree_<number>.txt`` inside the directory or its folder ``prefix``. At the end the model must give the scores that the
manifest states for two built-in questions, so parts that do not fit together are found at once.
What remains is trust in the scores: a stranger's scorer may accept wrong answers.
"""

from __future__ import annotations

import json
import os
import platform
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import scipy

from cascade.errors import ScorerError
from cascade.records import Response, TrafficRow

from .codec import load_fitted, save_fitted
from .dataset import Dataset, read_dataset
from .features import FEATURE_VERSION, OWN_NAMES, PROMPT_NAMES
from .ladder import LadderModel
from .ladder_fit import OutOfFold
from .prefixes import PrefixModel
from .whole_folder import sha256_of, version_of, written_whole

__all__ = ["COLD_START", "FORMAT", "Artifact", "check_models", "check_target", "load", "save"]

FORMAT = 1
SCORER, COLD_START = "cascade scorer", "cascade cold start"
"""What a manifest says that the folder is; `cold_start` writes and reads the other."""
MANIFEST = "manifest.json"
OUT_OF_FOLD = "oof.npz"
MODEL_FILES = ("model.json", "arrays.npz")
PREFIXES = "prefix"
"""Folder of what scores beginnings, in the same three kinds of files."""
MAX_BYTES = 4 << 30
"""Of all arrays of a file, once unpacked."""
PROBE_TOLERANCE = 1e-3

# What reading a file that was damaged, or made to do harm, can raise.
_BROKEN = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    IndexError,
    AttributeError,
    AssertionError,
    RecursionError,
    MemoryError,
    OverflowError,
    EOFError,
    NotImplementedError,
    zipfile.BadZipFile,
    zlib.error,
    lgb.basic.LightGBMError,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A loaded scorer.

    Attributes:
        path: Where it lies.
        manifest: What it says of itself.
        model: The fitted scorer.
        version: ``trained/`` and a digest of its files: what the decision log and policies name.
        keys: The rows it was trained on (`dataset.row_key`), sorted. Shape (n,), dtype S16.
        out_of_fold: Their scores by learners that had not seen them. Shape (2^m, n, m), float32.
        prefixes: Scores beginnings of answers; None where it was trained without checkpoints.
    """

    path: Path
    manifest: Mapping[str, Any]
    model: LadderModel
    version: str
    keys: np.ndarray
    out_of_fold: np.ndarray
    prefixes: PrefixModel | None = None

    @property
    def models(self) -> tuple[str, ...]:
        """The models it scores, cheapest first."""
        return self.model.models

    @property
    def separates(self) -> Mapping[str, bool]:
        """Whether the scores told right from wrong answers of each model on held-out rows."""
        return {m["name"]: bool(m["separates"]) for m in self.manifest["models"]}

    @property
    def uses_p_true(self) -> bool:
        """Whether it was trained with the models' own probability of being right."""
        return bool(self.manifest["p_true"])

    def scores(self, dataset: Dataset, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the scores of rows, out-of-fold ones for the rows that it was trained on.

        Args:
            dataset: Has exactly `models`, in this order.
            rows: Row numbers. Shape (n,).

        Returns:
            P(model j is right | state), shape (2^m, n, m), and whether the row is one it was
            trained on, shape (n,).
        """
        m = len(self.models)
        keys = dataset.keys[rows]
        at = np.minimum(np.searchsorted(self.keys, keys), max(len(self.keys) - 1, 0))
        seen = self.keys[at] == keys if len(self.keys) else np.zeros(len(rows), bool)
        q = np.empty((1 << m, len(rows), m))
        q[:, seen] = self.out_of_fold[:, at[seen]]
        q[:, ~seen] = self.model.probabilities(dataset, rows[~seen])
        return q, seen


def save(
    path: Path,
    model: LadderModel,
    oof: OutOfFold,
    dataset: Dataset,
    *,
    facts: Mapping[str, Any],
    created: str,
    prefixes: PrefixModel | None = None,
) -> str:
    """Write an artifact; the directory appears whole or not at all.

    Args:
        path: The directory; an artifact that is there is replaced.
        model: What was fitted.
        oof: Its training rows' scores.
        dataset: What it was fitted on.
        facts: ``models`` (one mapping a model, in order: ``name``, ``separates``, …) and whatever
            else the manifest shall hold: ``metrics``, ``stage``, ``split``, ``seed``, …
        created: When, in words of ISO 8601.
        prefixes: Scores beginnings of answers; None: nothing does.

    Returns:
        The version.

    Raises:
        ScorerError: It cannot be written, or something else is in the way.
    """
    check_target(path)
    with written_whole(path) as folder:
        if prefixes is not None:
            save_fitted(prefixes.as_value(), folder / PREFIXES)
        return _write(folder, model, oof, dataset, facts, created)


def load(path: str | Path, models: Sequence[str] | None = None) -> Artifact:
    """Load an artifact.

    Args:
        path: The directory.
        models: The ladder's models; each must be one of the scorer's. None: any.

    Raises:
        ScorerError: It is missing, damaged, of another version, or made for other models.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise ScorerError(f"{folder}: no such scorer; `cascade train LOG -o {folder}` makes one")
    manifest = _manifest(folder)
    if manifest["kind"] == COLD_START:
        raise ScorerError(
            f"{folder} is a ranking made without labels, not a probability of being right, so "
            f"nothing can be tuned on it, promised or replayed; label 25 answers or more of each "
            f"model (`cascade log label`) and run `cascade train` again"
        )
    _check_versions(folder, manifest)
    if models is not None:
        check_models(folder, [m["name"] for m in manifest["models"]], models)
    try:
        for name, digest in sorted(manifest["files"].items()):
            if sha256_of(folder / _plain(name)) != digest:
                raise ScorerError(f"{folder / name} is not the file that was saved: it is damaged")
        arrays = _model(folder, manifest)
        prefixes = _prefixes(folder, manifest)
    except FileNotFoundError as exc:
        raise ScorerError(f"{folder}: {Path(exc.filename or '').name} is missing") from exc
    except _BROKEN as exc:
        raise ScorerError(f"{folder} cannot be read: {_why(exc)}") from exc
    model, keys, q = arrays
    if not _right_probe(model, manifest):
        raise ScorerError(
            f"{folder} gives other scores here than where it was trained; "
            f"there: {manifest['libraries']}, here: {_libraries()}"
        )
    return Artifact(
        path=folder,
        manifest=manifest,
        model=model,
        version=version_of("trained", manifest["files"]),
        keys=keys,
        out_of_fold=q,
        prefixes=prefixes,
    )


def check_target(path: Path) -> None:
    """Refuse a place where something else lies; an earlier scorer or an empty directory may be there.

    Raises:
        ScorerError: Names it.
    """
    if path.exists() and not _replaceable(path):
        raise ScorerError(f"{path} is there and is not a scorer; name another directory")


def check_models(folder: Path, known: Sequence[str], wanted: Sequence[str]) -> None:
    """Refuse a ladder with models that the scorer has not seen.

    Raises:
        ScorerError: Names them.
    """
    missing = [m for m in wanted if m not in known]
    if missing:
        raise ScorerError(
            f"{folder} was not trained on {', '.join(missing)}; it knows {', '.join(known)}"
        )


def _write(
    folder: Path,
    model: LadderModel,
    oof: OutOfFold,
    dataset: Dataset,
    facts: Mapping[str, Any],
    created: str,
) -> str:
    save_fitted(model.as_value(), folder)
    keys = dataset.keys[oof.rows]
    # A key that stands twice (no ids, the same prompt again) is kept once.
    keys, first = np.unique(keys, return_index=True)
    np.savez_compressed(folder / OUT_OF_FOLD, keys=keys, q=oof.q[:, first].astype(np.float32))
    written = [p for p in sorted(folder.rglob("*")) if p.is_file()]
    files = {p.relative_to(folder).as_posix(): sha256_of(p) for p in written}
    manifest = {
        "kind": SCORER,
        "format": FORMAT,
        "created": created,
        "feature_version": FEATURE_VERSION,
        "features": {"prompt": list(PROMPT_NAMES), "answer": list(OWN_NAMES)},
        "p_true": dataset.p_true,
        "libraries": _libraries(),
        "data": {
            "digest": dataset.digest,
            "rows": len(dataset),
            "rows_in_log": dataset.seen,
            "fitted_on": model.n,
            "left_out": dict(dataset.left_out),
        },
        **facts,
        "probe": _probe(model).ravel().tolist(),
        "files": files,
    }
    text = json.dumps(manifest, indent=1, ensure_ascii=False, allow_nan=False)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")
    for file in (*written, folder / MANIFEST):
        with file.open("rb") as handle:
            os.fsync(handle.fileno())
    return version_of("trained", files)


def _replaceable(path: Path) -> bool:
    if not path.is_dir():
        return False
    return (path / MANIFEST).is_file() or not any(path.iterdir())


def _manifest(folder: Path) -> dict[str, Any]:
    file = folder / MANIFEST
    try:
        manifest = json.loads(file.read_bytes())
    except FileNotFoundError as exc:
        raise ScorerError(f"{folder} is not a scorer: {MANIFEST} is missing") from exc
    except _BROKEN as exc:
        raise ScorerError(f"{file} cannot be read: {_why(exc)}") from exc
    if not isinstance(manifest, dict) or manifest.get("kind") not in (SCORER, COLD_START):
        raise ScorerError(f"{file} is not the manifest of a scorer")
    return manifest


def _check_versions(folder: Path, manifest: Mapping[str, Any]) -> None:
    given = manifest.get("format")
    if not isinstance(given, int) or given < 1:
        raise ScorerError(f"{folder / MANIFEST}: format {given!r} is not a number from 1 on")
    if given > FORMAT:
        raise ScorerError(
            f"{folder} has format {given}; this version reads up to {FORMAT}: upgrade cascade-ask"
        )
    if manifest.get("feature_version") != FEATURE_VERSION or manifest.get("features") != {
        "prompt": list(PROMPT_NAMES),
        "answer": list(OWN_NAMES),
    }:
        raise ScorerError(
            f"{folder} was trained with features of version {manifest.get('feature_version')!r}, "
            f"and this is version {FEATURE_VERSION} with other names: train again"
        )
    models, files = manifest.get("models"), manifest.get("files")
    sound = (
        isinstance(models, list)
        and all(isinstance(m, dict) and isinstance(m.get("name"), str) for m in models)
        and all("separates" in m for m in models)
        and isinstance(files, dict)
        and {*MODEL_FILES, OUT_OF_FOLD} <= set(files)
        and isinstance(manifest.get("probe"), list)
        and isinstance(manifest.get("p_true"), bool)
        and isinstance(manifest.get("libraries"), dict)
    )
    if not sound:
        raise ScorerError(f"{folder / MANIFEST} lacks what a scorer states of itself")


def _model(folder: Path, manifest: Mapping[str, Any]) -> tuple[LadderModel, np.ndarray, np.ndarray]:
    _check_size(folder / OUT_OF_FOLD)
    trees = [f.relative_to(folder).as_posix() for f in folder.rglob("tree_*")]
    unknown = [name for name in trees if name not in manifest["files"]]
    if unknown:
        raise ValueError(f"{unknown[0]} is not in the manifest")
    model = LadderModel.from_value(load_fitted(folder))
    if list(model.models) != [m["name"] for m in manifest["models"]]:
        raise ValueError("manifest and model name different models")
    with np.load(folder / OUT_OF_FOLD, allow_pickle=False) as arrays:
        keys, q = arrays["keys"], arrays["q"]
    m = len(model.models)
    if keys.dtype != np.dtype("S16") or q.shape != (1 << m, len(keys), m):
        raise ValueError(f"{OUT_OF_FOLD} does not fit the model")
    if (keys[1:] <= keys[:-1]).any() or not ((q >= 0) & (q <= 1)).all():
        raise ValueError(f"{OUT_OF_FOLD} holds no probabilities by row")
    return model, keys, q


def _prefixes(folder: Path, manifest: Mapping[str, Any]) -> PrefixModel | None:
    if f"{PREFIXES}/{MODEL_FILES[0]}" not in manifest["files"]:
        return None
    prefixes = PrefixModel.from_value(load_fitted(folder / PREFIXES))
    if list(prefixes.models) != [m["name"] for m in manifest["models"]]:
        raise ValueError("manifest and prefixes name different models")
    return prefixes


def _check_size(file: Path) -> None:
    with zipfile.ZipFile(file) as archive:
        size = sum(info.file_size for info in archive.infolist())
    if size > MAX_BYTES:
        raise ValueError(f"{file.name} would take {size / 2**30:.1f} GB; at most 4 GB are read")


def _plain(name: str) -> str:
    """Return the name of a file of a scorer; nothing else is opened."""
    inner = name.removeprefix(f"{PREFIXES}/")
    known = (*MODEL_FILES, OUT_OF_FOLD) if inner == name else MODEL_FILES
    if inner not in known:
        number = inner.removeprefix("tree_").removesuffix(".txt")
        if f"tree_{number}.txt" != inner or not (number.isascii() and number.isdigit()):
            raise ValueError(f"{name!r} is not a file of a scorer")
    return name


def _libraries() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "lightgbm": lgb.__version__,
    }


_QUESTIONS = (
    (
        "A farmer has 12 cows and sells 5. How many are left?",
        "12 - 5 = 7. The answer is 7.",
        [-0.1, -0.7, -0.01],
    ),
    (
        "Which is heavier?\nA. a mole of iron\nB. a mole of lead",
        "I am not sure, but lead is heavier, so (B).",
        None,
    ),
)


def _probe(model: LadderModel) -> np.ndarray:
    """Return the scores of two built-in questions in every state. Shape (2^m, 2, m)."""
    rows = [
        TrafficRow(
            id=str(i),
            prompt=prompt,
            responses=[
                Response(
                    model=name,
                    text=text if (i + j) % 3 else f"{text} Or 6?",
                    logprobs=logprobs,
                    prompt_tokens=12,
                    completion_tokens=14,
                )
                for j, name in enumerate(model.models)
            ],
        )
        for i, (prompt, text, logprobs) in enumerate(_QUESTIONS)
    ]
    data = read_dataset(rows, model.models, need_score=False)
    return model.probabilities(data, np.arange(len(rows)))


def _right_probe(model: LadderModel, manifest: Mapping[str, Any]) -> bool:
    try:
        stated = np.asarray(manifest["probe"], float)
        found = _probe(model).ravel()
    except _BROKEN as exc:
        raise ScorerError(f"the parts of the scorer do not fit together: {_why(exc)}") from exc
    return stated.shape == found.shape and bool(
        np.allclose(stated, found, rtol=0, atol=PROBE_TOLERANCE)
    )


def _why(exc: BaseException) -> str:
    return f"{type(exc).__name__}: {str(exc)[:200]}" if str(exc) else type(exc).__name__
