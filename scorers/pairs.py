"""The same-answer scorer: may the answer to a cached prompt be given to another one?

On disk it is a folder of JSON and LightGBM text, no pickle; files are held against their digests, trees
are checked before LightGBM reads them, and at the end the model must give the scores that the manifest
states for built-in pairs. Two ship with the package, trained on generated pairs only.
"""

from __future__ import annotations

import hashlib
import json
import math
import platform
import shutil
import tempfile
from collections import OrderedDict
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import lightgbm as lgb
import msgspec
import numpy as np

from cascade.errors import ScorerError

from .fast_booster import FastBooster
from .pair_bounds import Certified
from .pair_evidence import Evidence
from .pair_features import FEATURE_VERSION, Rarity
from .pair_guards import SETTABLE, refusals
from .pair_model import COLUMNS, PairModel, pair_row
from .pair_text import MAX_CHARACTERS, PromptText, read_prompt
from .static_vectors import StaticVectors
from .trees import check_trees

__all__ = [
    "PairVerdict",
    "SameAnswer",
    "check_pairs_target",
    "load_default_pairs",
    "load_pairs",
    "save_pairs",
]

FORMAT = 1
MANIFEST, WORDS = "manifest.json", "words.json"
SHIPPED = Path(__file__).parent / "data" / "pairs"
_KIND = "cascade pair scorer"
_END_OF_TREES = "end of trees\n"
_KEPT_PROMPTS = 4_096
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


class PairVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """What is said of a pair.

    Attributes:
        p_same: Calibrated P(same answer), in [0, 1]; None where a guard refuses: it is not scored.
        refused_by: Names of the guards that refuse the pair, in the order of `pair_guards.GUARDS`;
            `too_long` where a text is longer than is compared.
    """

    p_same: float | None
    refused_by: tuple[str, ...] = ()


class SameAnswer:
    """Judges pairs of prompts. Not thread-safe: it keeps what it has read of the newest prompts.

    Args:
        model: The fitted parts.
        version: What the decision log shall name.
        certified: The threshold and what is known of it.
        vectors: Embeddings, if the model was fitted with them.
        allow: Guards that are switched off, out of `time_dependent` and `refers_back`.

    Raises:
        ScorerError: The vectors are not those of the model, or a guard cannot be switched off.
    """

    def __init__(
        self,
        model: PairModel,
        *,
        version: str,
        certified: Certified,
        vectors: StaticVectors | None = None,
        allow: Collection[str] = (),
    ) -> None:
        if model.vectors != (None if vectors is None else vectors.name):
            raise ScorerError(
                f"the pair scorer was fitted with embeddings {model.vectors or 'none'}, "
                f"and is to be used with {'none' if vectors is None else vectors.name}"
            )
        wrong = sorted(set(allow) - set(SETTABLE))
        if wrong:
            raise ScorerError(f"guard {wrong[0]}: only {', '.join(SETTABLE)} can be switched off")
        self.version = version
        self.threshold = certified.threshold
        self.certified = certified
        self._model = model
        self._vectors = vectors
        self._allow = tuple(allow)
        self._fast = [FastBooster(booster, raw=True) for booster in model.boosters]
        self._read: OrderedDict[str, tuple[PromptText, np.ndarray | None]] = OrderedDict()

    def judge(self, cached: str, asked: str, *, similarity: float, margin: float) -> PairVerdict:
        """Judge one pair.

        Args:
            cached: The prompt that has an answer.
            asked: The prompt that wants one.
            similarity: Of the index, in [0, 1].
            margin: How much likelier than the next candidate, or NaN.
        """
        if max(len(cached), len(asked)) > MAX_CHARACTERS:
            return PairVerdict(p_same=None, refused_by=("too_long",))
        (a, vector_a), (b, vector_b) = self._prompt(cached), self._prompt(asked)
        refused_by = refusals(a, b, allow=self._allow)
        if refused_by:
            return PairVerdict(p_same=None, refused_by=refused_by)
        row = pair_row(
            a,
            b,
            similarity=similarity,
            margin=margin,
            vectors=self._vectors,
            embedded=(vector_a, vector_b),
            refused_by=(),
        )
        values = np.array(self._model.columns(row), np.float64)
        raw = sum([fast.predict_one(values) for fast in self._fast]) / len(self._fast)
        z = self._model.slope * raw + self._model.bias
        return PairVerdict(p_same=0.5 * (1.0 + math.tanh(0.5 * z)), refused_by=row.refused_by)

    def _prompt(self, text: str) -> tuple[PromptText, np.ndarray | None]:
        known = self._read.get(text)
        if known is None:
            vector = None if self._vectors is None else self._vectors.text(text)
            known = self._read[text] = (read_prompt(text), vector)
            if len(self._read) > _KEPT_PROMPTS:
                self._read.popitem(last=False)
        return known


def save_pairs(
    path: Path, model: PairModel, certified: Certified, *, facts: Mapping[str, Any], created: str
) -> str:
    """Write a scorer; the folder appears whole or not at all.

    Args:
        path: The folder; a pair scorer that is there is replaced.
        model: What was fitted.
        certified: Its threshold.
        facts: What else the manifest shall hold: rows, sources, figures.
        created: When, ISO 8601.

    Returns:
        The version.

    Raises:
        ScorerError: It cannot be written, or something else is in the way.
    """
    check_pairs_target(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
        try:
            version = _write(folder, model, certified, facts, created)
            folder.chmod(0o755)
            if path.exists():
                old = folder.with_name(folder.name + "-old")
                path.rename(old)
                folder.rename(path)
                shutil.rmtree(old)
            else:
                folder.rename(path)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    except OSError as exc:
        raise ScorerError(f"{path} cannot be written ({exc.strerror or exc})") from exc
    return version


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
    path: str | Path, *, vectors: StaticVectors | None = None, allow: Collection[str] = ()
) -> SameAnswer:
    """Load a scorer that `save_pairs` wrote.

    Args:
        path: The folder.
        vectors: Embeddings, if it was fitted with them.
        allow: Guards that are switched off.

    Raises:
        ScorerError: It is missing, damaged, of another version, or needs other vectors.
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
            version=_version(manifest["files"]),
            certified=certified,
            vectors=vectors,
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
    *, vectors: StaticVectors | None = None, allow: Collection[str] = ()
) -> SameAnswer:
    """Load the scorer that ships with the package, the one for embeddings if there are any."""
    return load_pairs(
        SHIPPED / ("plain" if vectors is None else "embed"), vectors=vectors, allow=allow
    )


def _write(
    folder: Path, model: PairModel, certified: Certified, facts: Mapping[str, Any], created: str
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
    version = _version(files)
    vectors = None if model.vectors is None else StaticVectors()
    scorer = SameAnswer(model, version=version, certified=certified, vectors=vectors)
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
            for name in ("threshold", "rate", "confidence", "hits", "wrong", "upper", "others")
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


def _version(files: Mapping[str, str]) -> str:
    told = "\n".join(f"{name} {digest}" for name, digest in sorted(files.items()))
    return f"pairs/{hashlib.sha256(told.encode()).hexdigest()[:12]}"


def _libraries() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "lightgbm": lgb.__version__,
    }
