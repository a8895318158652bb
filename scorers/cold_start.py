"""What `cascade train` leaves behind before there are labels: a ranking of each model's answers.

A folder of its own kind, with the same three kinds of files as a trained scorer and read by the same
rules. What it gives is a rank in [0, 1] among the model's logged answers, and no probability of
anything: a threshold of 0.4 sends about 40 % of like traffic on.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cascade.errors import ScorerError
from cascade.types import RANK, Attempt, Request, Score

from .artifact import COLD_START as KIND
from .codec import load_fitted, save_fitted
from .dataset import Collected
from .features import FEATURE_VERSION, OWN_NAMES, read, read_prompt
from .generic import Ranking, rank_answers, why_silent
from .linear_head import ColumnMap, LinearHead
from .whole_folder import sha256_of, version_of, written_whole

__all__ = [
    "ColdStart",
    "ColdStartScorer",
    "fit_cold_start",
    "is_cold_start",
    "load_cold_start",
    "save_cold_start",
]

FORMAT = 1
MANIFEST = "manifest.json"
FILES = ("arrays.npz", "model.json")
_FIELDS = {"reads", "head", "knots", "ranks", "answers"}
_MANIFEST_BYTES = 16 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ColdStart:
    """Rankings of the answers of a ladder's models.

    Attributes:
        rankings: Model → its ranking, or None where its answers give nothing to go by.
        why: Model → why there is no ranking, in words.
        version: ``cold-start/`` and a digest of its files; "" until it is saved.
    """

    rankings: Mapping[str, Ranking | None]
    why: Mapping[str, str]
    version: str = ""

    @property
    def models(self) -> tuple[str, ...]:
        """The models, in the order of the log."""
        return tuple(self.rankings)


def fit_cold_start(found: Collected, models: Sequence[str]) -> ColdStart:
    """Rank the answers of each model; labels are not looked at.

    Args:
        found: The rows, labelled or not.
        models: The ladder.
    """
    own = found.dataset(models).blocks.own
    rankings = {model: rank_answers(own[:, j]) for j, model in enumerate(models)}
    why = {
        model: why_silent(own[:, j]) or ""
        for j, model in enumerate(models)
        if rankings[model] is None
    }
    return ColdStart(rankings=rankings, why=why)


def save_cold_start(path: Path, cold: ColdStart, facts: Mapping[str, Any]) -> str:
    """Write it; the directory appears whole or not at all.

    Args:
        path: The directory; `artifact.check_target` says what may be there.
        cold: What was fitted.
        facts: What else the manifest shall hold: ``created``, ``data``, …

    Returns:
        The version.

    Raises:
        ScorerError: It cannot be written, or a trained scorer lies there.
    """
    if (path / MANIFEST).is_file() and not is_cold_start(path):
        raise ScorerError(
            f"{path} holds a trained scorer, which is worth more than a ranking without labels; "
            f"name another directory"
        )
    with written_whole(path) as folder:
        save_fitted(
            {model: None if r is None else _fields(r) for model, r in cold.rankings.items()},
            folder,
        )
        files = {name: sha256_of(folder / name) for name in FILES}
        manifest = {
            "kind": KIND,
            "format": FORMAT,
            "meaning": "a rank among the logged answers of the same model, not a probability",
            "feature_version": FEATURE_VERSION,
            "models": [
                {
                    "name": model,
                    "ranked_by": None
                    if ranking is None
                    else "log-probability"
                    if ranking.by_logprob
                    else "text",
                    "answers": 0 if ranking is None else ranking.answers,
                    "why_not": cold.why.get(model),
                }
                for model, ranking in cold.rankings.items()
            ],
            **facts,
            "files": files,
        }
        text = json.dumps(manifest, indent=1, ensure_ascii=False, allow_nan=False)
        (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")
        for name in (*FILES, MANIFEST):
            with (folder / name).open("rb") as handle:
                os.fsync(handle.fileno())
    return version_of("cold-start", files)


def is_cold_start(folder: Path) -> bool:
    """Return whether the folder says that it is a ranking, and not a trained scorer."""
    try:
        return bool(_manifest(folder).get("kind") == KIND)
    except ScorerError:
        return False


def load_cold_start(folder: Path, models: Sequence[str] | None = None) -> ColdStart:
    """Load what `save_cold_start` wrote.

    Args:
        folder: The directory.
        models: The ladder's models; each must be one of it. None: any.

    Raises:
        ScorerError: It is missing, damaged, of another version, or made for other models.
    """
    manifest = _manifest(folder)
    if manifest.get("kind") != KIND:
        raise ScorerError(f"{folder / MANIFEST} is not the manifest of a ranking without labels")
    if manifest.get("format") != FORMAT:
        raise ScorerError(
            f"{folder} has format {manifest.get('format')!r}; this version reads {FORMAT}"
        )
    if manifest.get("feature_version") != FEATURE_VERSION:
        raise ScorerError(
            f"{folder} was made with features of version {manifest.get('feature_version')!r}, and "
            f"this is version {FEATURE_VERSION}: run `cascade train` again"
        )
    stated = manifest.get("files")
    if not isinstance(stated, dict) or set(stated) != set(FILES):
        raise ScorerError(f"{folder / MANIFEST}: files given: {str(stated)[:80]}; expected {FILES}")
    for name in FILES:
        if not (folder / name).is_file():
            raise ScorerError(f"{folder}: {name} is missing")
        if sha256_of(folder / name) != stated[name]:
            raise ScorerError(f"{folder / name} is not the file that was saved: it is damaged")
    value = load_fitted(folder)
    told = manifest.get("models")
    names = (
        [m.get("name") if isinstance(m, dict) else None for m in told]
        if isinstance(told, list)
        else []
    )
    if not isinstance(value, dict) or not value or list(value) != names:
        raise ScorerError(f"{folder}: manifest and rankings name different models")
    missing = [model for model in models or () if model not in value]
    if missing:
        raise ScorerError(
            f"{folder} was not made for {', '.join(missing)}; it knows {', '.join(value)}"
        )
    rankings = {model: _ranking(folder, model, fields) for model, fields in value.items()}
    why = {
        str(m["name"]): str(m.get("why_not") or "no ranking")
        for m in manifest["models"]
        if rankings[m["name"]] is None
    }
    return ColdStart(rankings=rankings, why=why, version=version_of("cold-start", stated))


class ColdStartScorer:
    """Implements `cascade.ports.Scorer`: the confidence is a rank among the model's logged answers.

    The last rung's answers are not ranked: ranks of different models cannot be compared, and an
    answer of unknown confidence at the end of the ladder is the one that is returned.

    Args:
        cold: What `load_cold_start` returned.
        models: The model of each rung, in the order of the ladder; all of them known to it.
    """

    def __init__(self, cold: ColdStart, models: Sequence[str]) -> None:
        self._version = cold.version
        self._rankings = [cold.rankings[model] for model in models]
        self._why = [cold.why.get(model, "") for model in models]
        if self._rankings:
            self._rankings[-1] = None
            self._why[-1] = "the last rung's answer is kept; ranks of two models do not compare"

    is_immediate = True
    """It waits for nothing."""

    @property
    def version(self) -> str:
        """``cold-start/`` and the digest of its files."""
        return self._version

    async def score(self, request: Request, attempts: Sequence[Attempt]) -> Score:
        """Return the rank of the newest answer; None, with the reason, where there is none."""
        return self.score_nowait(request, attempts)

    def score_nowait(self, request: Request, attempts: Sequence[Attempt]) -> Score:
        """Return what `score` does."""
        answer = attempts[-1].answer if attempts else None
        if answer is None or answer.text is None:
            why = "there is no text to read" if attempts else "nothing answered yet"
            return Score(confidence=None, why_unknown=why)
        rung = attempts[-1].rung
        ranking = self._rankings[rung]
        if ranking is None:
            return Score(confidence=None, why_unknown=self._why[rung])
        logprobs = answer.logprobs
        found = read(
            read_prompt(request.prompt),
            answer.text,
            logprobs=None if logprobs is None else logprobs.logprobs,
            top_logprobs=None if logprobs is None else logprobs.top,
            finish_reason=answer.finish_reason,
            completion_tokens=answer.usage.completion_tokens,
            prompt_tokens=answer.usage.prompt_tokens,
        )
        assert found is not None  # there is a text
        if ranking.by_logprob and math.isnan(found.answer.mean_logprob):
            return Score(confidence=None, why_unknown="the provider gave no log-probabilities")
        rank = float(ranking.rank(np.array([found.values], np.float32))[0])
        return Score(confidence=rank, measures={RANK: rank})


def _fields(ranking: Ranking) -> dict[str, Any]:
    return {name: getattr(ranking, name) for name in sorted(_FIELDS)}


def _ranking(folder: Path, model: str, fields: Any) -> Ranking | None:
    """Return a ranking whose parts fit together.

    Raises:
        ScorerError: They do not.
    """
    if fields is None:
        return None
    if not isinstance(fields, dict) or set(fields) != _FIELDS or not _sound(fields):
        raise ScorerError(f"{folder}: the ranking of {model:.80} does not fit together")
    return Ranking(**fields)


def _sound(fields: Mapping[str, Any]) -> bool:
    reads, head, knots, ranks = (fields[n] for n in ("reads", "head", "knots", "ranks"))
    return (
        isinstance(reads, tuple)
        and len(reads) > 0
        and set(reads) <= set(OWN_NAMES)
        and isinstance(head, LinearHead)
        and isinstance(head.columns, ColumnMap)
        and head.columns.keep.shape == (len(reads),)
        and bool(head.columns.keep.all())
        and not head.columns.missing.any()
        and head.weights.shape == (len(reads),)
        and isinstance(knots, np.ndarray)
        and isinstance(ranks, np.ndarray)
        and knots.dtype == ranks.dtype == np.float64
        and knots.ndim == 1
        and knots.shape == ranks.shape
        and len(knots) > 0
        and bool(np.isfinite(knots).all())
        and bool((np.diff(knots) >= 0).all() and (np.diff(ranks) >= 0).all())
        and bool(((ranks >= 0) & (ranks <= 1)).all())
        and type(fields["answers"]) is int
        and math.isfinite(fields["answers"])
    )


def _manifest(folder: Path) -> dict[str, Any]:
    file = folder / MANIFEST
    try:
        if file.stat().st_size > _MANIFEST_BYTES:
            raise ScorerError(f"{file} is larger than {_MANIFEST_BYTES >> 20} MB")
        manifest = json.loads(file.read_bytes())
    except FileNotFoundError as exc:
        raise ScorerError(f"{folder} is not a scorer: {MANIFEST} is missing") from exc
    except (OSError, ValueError, RecursionError) as exc:
        raise ScorerError(f"{file} cannot be read: {type(exc).__name__}: {str(exc)[:200]}") from exc
    if not isinstance(manifest, dict):
        raise ScorerError(f"{file} is not the manifest of a scorer")
    return manifest
