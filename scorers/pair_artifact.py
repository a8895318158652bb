"""Same-answer scorers on disk: a folder of JSON and LightGBM text, no pickle.

Files are held against their digests, trees are checked before LightGBM reads them, and at the end the
model must give the scores that the manifest states for built-in pairs. Some ship with the package, trained
on generated pairs only: one for no embedder, and one for each that there is.
"""

from __future__ import annotations

import hashlib
import json
import math
import platform
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np

from cascade.errors import ScorerError

from .embedders import EMBEDDERS, Embedder, EmbedderKind, embedder_of, kind_of, open_embedder
from .pair_bounds import Certified
from .pair_evidence import Evidence
from .pair_features import FEATURE_VERSION, Rarity
from .pair_model import COLUMNS, PairModel
from .pairs import SameAnswer
from .trees import check_trees
from .whole_folder import version_of, written_whole

__all__ = ["check_pairs_target", "load_default_pairs", "load_pairs", "save_pairs"]

FORMAT = 1
MANIFEST, WORDS = "manifest.json", "words.json"
SHIPPED = Path(__file__).parent / "data" / "pairs"
_KIND = "cascade pair scorer"
_END_OF_TREES = "end of trees\n"
_MOST_BYTES = 256 << 20
_MOST_BOOSTERS = 16
_PROBE_TOLERANCE = 1e-6
_PROBES = (
    ("What is the best way to learn Python?", "How do I learn Python?", 0.5),
    ("Is green tea good for you?", "Is green tea good for your health?", 0.7),
    ("How do volcanoes form?", "What do volcanoes destroy?", 0.4),
)
_BROKEN = (
    *(OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError),
    *(OverflowError, MemoryError, lgb.basic.LightGBMError),
)


def save_pairs(
    path: Path,
    model: PairModel,
    certified: Certified,
    *,
    facts: Mapping[str, Any],
    created: str,
    embedder: Embedder | None = None,
) -> str:
    """Write a scorer; the folder appears whole or not at all.

    Args:
        path: The folder; a pair scorer that is there is replaced.
        model: What was fitted.
        certified: Its threshold.
        facts: What else the manifest shall hold: rows, sources, figures.
        created: When, ISO 8601.
        embedder: The one that the model was fitted with, if it was with one.

    Returns:
        The version.

    Raises:
        ScorerError: It cannot be written, or something else is in the way.
    """
    check_pairs_target(path)
    with written_whole(path) as folder:
        return _write(folder, model, certified, facts, created, embedder)


def check_pairs_target(path: Path) -> None:
    """Refuse a place where something else lies; an earlier pair scorer or an empty folder may be there.

    Raises:
        ScorerError: Names it.
    """
    if not path.exists():
        return
    if path.is_dir() and ((path / WORDS).is_file() or not any(path.iterdir())):
        return
    raise ScorerError(f"{path} is there and is not a pair scorer; name another folder")


def load_pairs(
    path: str | Path,
    *,
    embedder: Embedder | EmbedderKind | None = None,
    allow: Collection[str] = (),
) -> SameAnswer:
    """Load a scorer that `save_pairs` wrote.

    Args:
        path: The folder.
        embedder: What it is to be used with; None: what it was fitted with.
        allow: Guards that are switched off.

    Raises:
        ScorerError: It is missing, damaged, of another version, was fitted with another embedder, or
            that is not installed.
    """
    folder = Path(path)
    try:
        manifest = json.loads(_bytes(folder / MANIFEST))
        _check(folder, manifest)
        for name, digest in sorted(manifest["files"].items()):
            if hashlib.sha256(_bytes(folder / _plain(name))).hexdigest() != digest:
                raise ScorerError(f"{folder / name} is not the file that was saved: it is damaged")
        model = _model(folder, manifest)
        certified = Certified(**manifest["certified"])
        if not all(math.isfinite(v) for v in (certified.threshold, model.slope, model.bias)):
            raise ValueError("threshold or calibration is not finite")
        scorer = SameAnswer(
            model,
            version=version_of("pairs", manifest["files"]),
            certified=certified,
            embedder=_embedder(embedder, model.vectors),
            allow=allow,
        )
        stated, found = manifest["probe"], _probe(scorer)
        if len(stated) != len(found) or not np.allclose(stated, found, atol=_PROBE_TOLERANCE):
            raise ScorerError(
                f"{folder} gives other scores here than where it was trained; "
                f"there: {manifest['libraries']}, here: {_libraries()}"
            )
    except FileNotFoundError as exc:
        name = Path(exc.filename or "").name
        raise ScorerError(f"{folder} is not a pair scorer: {name} is missing") from exc
    except _BROKEN as exc:
        raise ScorerError(f"{folder} cannot be read: {type(exc).__name__}: {exc!s:.200}") from exc
    return scorer


def load_default_pairs(
    *, embedder: Embedder | EmbedderKind | None = None, allow: Collection[str] = ()
) -> SameAnswer:
    """Load the scorer that ships with the package for an embedder; None: the one that needs none."""
    used = open_embedder(embedder) if isinstance(embedder, str) else embedder
    folder = SHIPPED / kind_of(None if used is None else used.name)
    return load_pairs(folder, embedder="none" if used is None else used, allow=allow)


def _embedder(wanted: Embedder | EmbedderKind | None, fitted: str | None) -> Embedder | None:
    if wanted is None:
        return embedder_of(fitted)
    if not isinstance(wanted, str):
        return wanted
    # what does not fit is refused without loading it
    if EMBEDDERS[wanted] != fitted:
        raise ScorerError(
            f"the pair scorer was fitted with the embedder {kind_of(fitted)}, "
            f"and is to be used with {wanted}"
        )
    return open_embedder(wanted)


def _write(
    folder: Path,
    model: PairModel,
    certified: Certified,
    facts: Mapping[str, Any],
    created: str,
    embedder: Embedder | None,
) -> str:
    told = model.evidence
    words = {
        "rarity": {"weights": dict(model.rarity.weights), "unknown": model.rarity.unknown},
        "evidence": None
        if told is None
        else {
            "prior": told.prior,
            "bias": told.bias,
            "weights": dict(told.weights),
            "counts": {key: list(pair) for key, pair in told.counts.items()},
        },
    }
    (folder / WORDS).write_text(
        json.dumps(words, ensure_ascii=False, sort_keys=True, separators=(",", ":")) + "\n",
        encoding="utf-8",
    )
    for i, booster in enumerate(model.boosters):
        (folder / f"tree_{i}.txt").write_text(_plain_trees(booster), encoding="utf-8")
    files = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir())}
    version = version_of("pairs", files)
    scorer = SameAnswer(model, version=version, certified=certified, embedder=embedder)
    manifest = {
        "kind": _KIND,
        "format": FORMAT,
        "created": created,
        "feature_version": FEATURE_VERSION,
        "columns": list(COLUMNS[: model.boosters[0].num_feature()]),
        "vectors": model.vectors,
        "calibration": {"slope": model.slope, "bias": model.bias},
        "certified": {
            name: getattr(certified, name)
            for name in ("threshold", "rate", "confidence", "hits", "wrong", "upper")
        },
        **facts,
        "libraries": _libraries(),
        "probe": _probe(scorer),
        "files": files,
    }
    text = json.dumps(manifest, indent=1, ensure_ascii=False, allow_nan=False)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")
    return version


def _plain_trees(booster: lgb.Booster) -> str:
    """Return LightGBM's text up to the end of the trees, without what only training reads."""
    text = booster.model_to_string()
    text = text[: text.index(_END_OF_TREES) + len(_END_OF_TREES)]
    head, mark, trees = text.partition("\nTree=0\n")
    lines = [line for line in head.split("\n") if not line.startswith("monotone_constraints=")]
    return "\n".join(lines) + mark + trees


def _model(folder: Path, manifest: Mapping[str, Any]) -> PairModel:
    words = json.loads(_bytes(folder / WORDS))
    told = words["evidence"]
    boosters = []
    for name in sorted(manifest["files"]):
        if name == WORDS:
            continue
        text = _bytes(folder / name).decode("utf-8")
        if check_trees(text) != len(manifest["columns"]):
            raise ValueError(f"{name} reads another number of columns")
        boosters.append(lgb.Booster(model_str=text))
    return PairModel(
        rarity=Rarity(
            weights={str(k): float(v) for k, v in words["rarity"]["weights"].items()},
            unknown=float(words["rarity"]["unknown"]),
        ),
        evidence=None
        if told is None
        else Evidence(
            prior=float(told["prior"]),
            bias=float(told["bias"]),
            weights={str(k): float(v) for k, v in told["weights"].items()},
            counts={str(k): (int(same), int(n)) for k, (same, n) in told["counts"].items()},
        ),
        boosters=tuple(boosters),
        slope=float(manifest["calibration"]["slope"]),
        bias=float(manifest["calibration"]["bias"]),
        vectors=manifest["vectors"],
    )


def _check(folder: Path, manifest: Any) -> None:
    if not isinstance(manifest, dict) or manifest.get("kind") != _KIND:
        raise ScorerError(f"{folder / MANIFEST} is not the manifest of a pair scorer")
    if manifest.get("format") != FORMAT:
        raise ScorerError(
            f"{folder} has format {manifest.get('format')!r}; this version reads {FORMAT}"
        )
    columns = manifest.get("columns")
    if (
        manifest.get("feature_version") != FEATURE_VERSION
        or not isinstance(columns, list)
        or columns != list(COLUMNS[: len(columns)])
    ):
        raise ScorerError(
            f"{folder} was trained with features of version {manifest.get('feature_version')!r}; "
            f"this is version {FEATURE_VERSION}: train again"
        )
    files = manifest.get("files")
    if not isinstance(files, dict) or not 2 <= len(files) <= _MOST_BOOSTERS + 1:
        raise ScorerError(f"{folder / MANIFEST} does not name the files of a pair scorer")


def _plain(name: str) -> str:
    number = name.removeprefix("tree_").removesuffix(".txt")
    if name != WORDS and (f"tree_{number}.txt" != name or not number.isdecimal()):
        raise ValueError(f"{name!r:.40} is not a file of a pair scorer")
    return name


def _bytes(file: Path) -> bytes:
    if file.stat().st_size > _MOST_BYTES:
        raise ValueError(f"{file.name} is larger than {_MOST_BYTES >> 20} MB")
    return file.read_bytes()


def _probe(scorer: SameAnswer) -> list[float]:
    verdicts = [scorer.judge(a, b, similarity=near, margin=math.nan) for a, b, near in _PROBES]
    return [verdict.p_same for verdict in verdicts if verdict.p_same is not None]


def _libraries() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "lightgbm": lgb.__version__,
    }
