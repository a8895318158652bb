"""Where lossy stages do no harm: what `cascade tune --compress` has certified, as the engine reads it.

A lossy stage without evidence is off. The evidence is a YAML file::

    clusters: compress.clusters.json      # the kinds of task, in a file beside it; absent: one kind
    compress:
      extract:
        - {cluster: "0", allowed: true, model: small, stage_version: extract/1-4c1a, together: []}
        - {cluster: "1", allowed: false, model: small, stage_version: extract/1-4c1a}

`cluster` is a kind of task (`cascade.compress.clusters`), or ``"*"`` for all that have no entry of their
own. `model` and `stage_version` narrow an entry down: without them it holds for every model, and for
the stage however it is set. `together` names the lossy stages that were tested with it: it may be used
only with all of them. Every other key is for the reader.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ..errors import ConfigError
from ..fingerprint import digest
from ..types import Request
from .clusters import ONE_CLUSTER, TaskClusters
from .pipeline import Stage

__all__ = ["EVERY_CLUSTER", "KIND", "Evidence", "Kinds", "StageVerdict", "read_evidence"]

KIND = "compression evidence"
EVERY_CLUSTER = "*"


class Kinds(Protocol):
    """Tells kinds of task apart."""

    def of(self, request: Request) -> str:
        """Return the name of the kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageVerdict:
    """What is known of one stage in one place.

    Attributes:
        stage: Name of the stage.
        allowed: Whether it may be used there.
        cluster: Kind of task, or ``"*"``.
        model: Whose answers were compared; None: every model.
        stage_version: The stage as it was tested, as another setting is another stage; None: however it
            is set.
        together: The other lossy stages that it was tested with.
    """

    stage: str
    allowed: bool
    cluster: str = EVERY_CLUSTER
    model: str | None = None
    stage_version: str | None = None
    together: tuple[str, ...] = ()


class Evidence:
    """Verdicts, and the kinds of task that they speak of.

    Args:
        verdicts: What is known; of two about the same place the later counts.
        kinds: Tells the kinds apart.
        version: Digest of the content: what a request is sent as depends on it.
    """

    def __init__(
        self, verdicts: Iterable[StageVerdict], kinds: Kinds = ONE_CLUSTER, version: str = ""
    ) -> None:
        self._verdicts: dict[tuple[str, str, str | None], StageVerdict] = {
            (one.stage, one.cluster, one.model): one for one in verdicts
        }
        self._kinds = kinds
        self.version = version
        self._stages = {v.stage for v in self._verdicts.values() if v.allowed}

    def has(self, stage: str) -> bool:
        """Return whether a stage of that name may be used anywhere."""
        return stage in self._stages

    def cluster_of(self, request: Request) -> str:
        """Return the kind of task of a request."""
        return self._kinds.of(request)

    def verdict(self, stage: str, cluster: str, model: str = "") -> StageVerdict | None:
        """Return what is known of a stage: for that kind and model before all kinds and all models."""
        for kind in (cluster, EVERY_CLUSTER):
            for whose in (model, None):
                found = self._verdicts.get((stage, kind, whose))
                if found is not None:
                    return found
        return None

    def allowed(self, stages: Sequence[Stage], request: Request, *, model: str = "") -> list[Stage]:
        """Return the stages that may be used on a request to a model: the lossless ones, and those proved.

        Cost: nothing worth naming where no lossy stage is proved anywhere; else 50 µs for the kind.
        """
        if not any(stage.lossy and stage.name in self._stages for stage in stages):
            return [stage for stage in stages if not stage.lossy]
        cluster = self.cluster_of(request)
        found: dict[str, StageVerdict] = {}
        for stage in stages:
            verdict = self.verdict(stage.name, cluster, model) if stage.lossy else None
            fits = verdict is not None and verdict.stage_version in (None, stage.version)
            if verdict is not None and verdict.allowed and fits:
                found[stage.name] = verdict
        proved = {name for name, one in found.items() if all(o in found for o in one.together)}
        return [stage for stage in stages if not stage.lossy or stage.name in proved]

    def __repr__(self) -> str:
        return f"<Evidence for {', '.join(sorted(self._stages)) or 'nothing'}>"


def read_evidence(path: str | Path) -> Evidence:
    """Return the evidence in a file, with the kinds of task in the file beside it.

    Raises:
        ConfigError: One of them cannot be read, or is something else; says where.
    """
    import yaml

    path = Path(path)
    text = _read(path)
    try:
        whole = yaml.safe_load(text)
    except yaml.YAMLError as exc:
        raise ConfigError(f"{path}: not YAML ({type(exc).__name__})") from exc
    stages = whole.get("compress") if isinstance(whole, dict) else None
    if not isinstance(stages, dict):
        raise ConfigError(f"{path}: no `compress` with stages; `cascade tune --compress` writes it")
    kinds = _kinds(whole, path)
    verdicts = [
        verdict
        for stage, entries in stages.items()
        for verdict in _entries(str(stage), entries, f"{path}: compress.{stage}")
    ]
    return Evidence(verdicts, kinds, version=digest([text, kinds.version])[:12])


def _kinds(whole: dict[str, Any], path: Path) -> TaskClusters:
    beside = whole.get("clusters")
    if beside is None:
        return ONE_CLUSTER
    if not isinstance(beside, str):
        raise ConfigError(f"{path}: clusters: allowed: the name of the file beside it")
    file = path.parent / beside
    kinds = TaskClusters.from_json(_read(file).encode(), str(file))
    if whole.get("clusters_version") not in (None, kinds.version):
        raise ConfigError(f"{file}: not the kinds of task that {path} speaks of; tune again")
    return kinds


def _entries(stage: str, entries: Any, where: str) -> list[StageVerdict]:
    found = []
    for i, entry in enumerate(entries if isinstance(entries, list) else [entries]):
        place = f"{where}[{i}]"
        if not isinstance(entry, dict) or not isinstance(entry.get("allowed"), bool):
            raise ConfigError(
                f"{place}: allowed: a mapping with `cluster` and `allowed: true` or false"
            )
        texts = {name: entry.get(name) for name in ("cluster", "model", "stage_version")}
        for name, text in texts.items():
            if text is not None and not isinstance(text, str):
                raise ConfigError(f"{place}.{name}: {text!r:.40} given; allowed: text")
        together = entry.get("together") or []
        if not isinstance(together, list) or not all(isinstance(one, str) for one in together):
            raise ConfigError(f"{place}.together: allowed: a list of stages")
        found.append(
            StageVerdict(
                stage=stage,
                allowed=entry["allowed"],
                cluster=texts["cluster"] or EVERY_CLUSTER,
                model=texts["model"],
                stage_version=texts["stage_version"],
                together=tuple(together),
            )
        )
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        why = getattr(exc, "strerror", None) or type(exc).__name__
        raise ConfigError(f"{path}: {why}") from exc
