"""The sound parts of a ladder file, read one by one, so that one mistake does not hide the next.

What is broken is absent, and nothing may be concluded from its absence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from .document import Document
from .gates import GateConfig
from .places import locate, members, plain_type
from .policies import PolicyConfig
from .providers import ProviderConfig
from .schema import LadderConfig, LogConfig, RungConfig
from .scorers import ScorerConfig

__all__ = ["POLICY", "Parts", "sound_parts"]

POLICY: TypeAdapter[Any] = TypeAdapter(PolicyConfig)
_PROVIDER: TypeAdapter[Any] = TypeAdapter(ProviderConfig)
_SCORER: TypeAdapter[Any] = TypeAdapter(ScorerConfig)
_RUNG: TypeAdapter[Any] = TypeAdapter(RungConfig)
_LOG: TypeAdapter[Any] = TypeAdapter(LogConfig)
_GATE: TypeAdapter[Any] = TypeAdapter(GateConfig)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The sound fields of every part; a field that is missing here was not sound.

    Attributes:
        folder: Where relative paths start.
        providers: By name, or None when the mapping itself is broken.
        rungs: In order.
        scorer: Fields of the scorer.
        policy: Fields of the policy; empty when the file that holds it could not be read.
        whole_policy: One of the tables of `PolicyConfig`, or None unless all of it is sound.
        gates: Place in the list, and the name or table of a gate.
        log: Fields of the log.
        metadata: The free mapping, if sound.
    """

    folder: Path
    providers: Mapping[str, Mapping[str, Any]] | None
    rungs: Sequence[Mapping[str, Any]]
    scorer: Mapping[str, Any]
    policy: Mapping[str, Any]
    whole_policy: Any
    gates: Sequence[tuple[int, Any]]
    log: Mapping[str, Any]
    metadata: Mapping[str, Any]


def sound_parts(document: Document, folder: Path, *, policy_read: bool) -> Parts:
    """Return what is sound in a document.

    Args:
        document: The ladder file.
        folder: Where its relative paths start.
        policy_read: Whether what the file says of the policy could be read.
    """
    data = document.data

    def fields(adapter: TypeAdapter[Any], annotation: Any, raw: Any, *path: str | int) -> Any:
        found = _sound_fields(adapter, annotation, raw)
        if document.lacks_keys(path):  # a key of it was refused: nothing has its default for sure
            found = {key: value for key, value in found.items() if key in raw}
        return found

    providers, ladder, gates = data.get("providers"), data.get("ladder"), data.get("gates")
    if "gates" not in data:
        gates = list(LadderConfig.model_fields["gates"].default)
    policy = data.get("policy", {})
    return Parts(
        folder=folder,
        providers=(
            {
                name: fields(_PROVIDER, ProviderConfig, raw, "providers", name)
                for name, raw in providers.items()
            }
            if isinstance(providers, dict)
            else None
        ),
        rungs=(
            [fields(_RUNG, RungConfig, raw, "ladder", i) for i, raw in enumerate(ladder)]
            if isinstance(ladder, list)
            else []
        ),
        scorer=fields(_SCORER, ScorerConfig, data.get("scorer", {}), "scorer"),
        policy=fields(POLICY, PolicyConfig, policy, "policy") if policy_read else {},
        whole_policy=_whole(POLICY, policy) if policy_read else None,
        gates=[
            (i, gate)
            for i, raw in enumerate(gates if isinstance(gates, list) else [])
            if (gate := _whole(_GATE, raw)) is not None
        ],
        log=fields(_LOG, LogConfig, data.get("log"), "log"),
        metadata=data["metadata"] if isinstance(data.get("metadata"), dict) else {},
    )


def _whole(adapter: TypeAdapter[Any], raw: Any) -> Any:
    """Return what `raw` means, or None when anything in it is wrong."""
    try:
        return adapter.validate_python(raw)
    except ValidationError:
        return None


def _sound_fields(adapter: TypeAdapter[Any], annotation: Any, raw: Any) -> dict[str, Any]:
    """Return the fields of `raw` that hold what they may, defaults included."""
    if not isinstance(raw, dict):
        return {}
    try:
        return dict(adapter.validate_python(raw))
    except ValidationError as exc:
        errors = exc.errors(include_url=False, include_input=False)
    places = [locate(error["loc"], annotation) for error in errors]
    broken = {place.path[0] for place in places if place.path}
    model = _chosen_model(annotation, errors)
    if model is None:
        return {}
    fields = {
        name: known.get_default(call_default_factory=True)
        for name, known in model.model_fields.items()
        if name not in raw and not known.is_required()
    }
    return fields | {k: v for k, v in raw.items() if k in model.model_fields and k not in broken}


def _chosen_model(annotation: Any, errors: list[ErrorDetails]) -> type[BaseModel] | None:
    plain, _ = plain_type(annotation)
    choices = members(plain)
    if choices:
        loc = errors[0]["loc"]
        plain, _ = plain_type(choices.get(str(loc[0])) if loc else None)
    return plain if isinstance(plain, type) and issubclass(plain, BaseModel) else None
