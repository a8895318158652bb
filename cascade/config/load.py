"""Loads ladder files: text in, a checked `LadderConfig` out, or every mistake at once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from ..errors import LadderError, Problem
from .checks import Parts, check_parts, nearest
from .document import MAX_PROBLEMS, Document, open_document, read_file
from .places import Place, locate, members, plain_type
from .schema import (
    LadderConfig,
    LogConfig,
    PolicyConfig,
    ProviderConfig,
    RecordedProvider,
    RungConfig,
    ScorerConfig,
    TrainedScorer,
)
from .yaml_source import KeyPath

__all__ = ["load_ladder_file", "load_policy_file", "parse_ladder", "policy_from_mapping"]

_PROVIDER: TypeAdapter[Any] = TypeAdapter(ProviderConfig)
_SCORER: TypeAdapter[Any] = TypeAdapter(ScorerConfig)
_POLICY: TypeAdapter[Any] = TypeAdapter(PolicyConfig)
_RUNG: TypeAdapter[Any] = TypeAdapter(RungConfig)
_LOG: TypeAdapter[Any] = TypeAdapter(LogConfig)


def load_ladder_file(
    path: str | Path, env: Mapping[str, str], *, allow_unset: bool = False
) -> LadderConfig:
    """Return the ladder that a YAML file describes.

    Args:
        path: The file. Paths in it start from its folder.
        env: The environment for `${NAME}`.
        allow_unset: Whether a variable without a value is left as it stands. Such a ladder has
            been checked as far as possible but cannot be run.

    Raises:
        LadderError: With every mistake, in the order of the file. No message holds a secret.
    """
    text = read_file(Path(path), shown=str(path))
    return parse_ladder(text, file=str(path), env=env, allow_unset=allow_unset)


def parse_ladder(
    text: str | bytes,
    *,
    file: str | None = None,
    env: Mapping[str, str],
    allow_unset: bool = False,
) -> LadderConfig:
    """Return the ladder that YAML text describes; as `load_ladder_file`.

    `file` is what messages call the text, and paths start from its folder; without it they start
    from the working directory.
    """
    folder = Path(file).parent if file is not None else Path()
    document = open_document(text, file=file, env=env, allow_unset=allow_unset)
    policy_read = _mount_policy(document, folder, env, allow_unset)
    try:
        config = LadderConfig.model_validate(document.data)
    except ValidationError as exc:
        config = None
        for error in exc.errors(include_url=False, include_input=False)[: MAX_PROBLEMS + 1]:
            _report(error, document)
    check_parts(_sound_parts(document.data, folder, policy_read=policy_read), document)
    if config is None and not document.problems:
        document.report_unresolved()
    if config is None or document.problems:
        raise LadderError(_in_order(document))
    return _with_absolute_paths(config, document, folder)


def load_policy_file(path: str | Path) -> Any:
    """Return what a policy file holds: one of the tables of `PolicyConfig`.

    Variables are not replaced in it: a policy has nothing to take from the environment.

    Raises:
        LadderError: With every mistake, in the order of the file.
    """
    shown = str(path)
    return _policy_from(read_file(Path(path), shown=shown), shown)


def policy_from_mapping(mapping: Mapping[str, Any], *, file: str) -> Any:
    """Return what a mapping says of a policy, as `load_policy_file` does.

    Args:
        mapping: What stands under `policy` in a ladder file.
        file: Where it was found, for messages.

    Raises:
        LadderError: With every mistake.
    """
    return _policy_from(json.dumps(mapping, ensure_ascii=False), file)


def _policy_from(text: str | bytes, shown: str) -> Any:
    policy = open_document(text, file=shown, env={}, allow_unset=True)
    whole = open_document("{}", file=shown, env={}, allow_unset=True)
    whole.mount("policy", policy)
    found = None
    try:
        found = _POLICY.validate_python(policy.data)
    except ValidationError as exc:
        for error in exc.errors(include_url=False, include_input=False)[: MAX_PROBLEMS + 1]:
            moved: ErrorDetails = {**error, "loc": ("policy", *error["loc"])}
            _report(moved, whole)
    if whole.problems or found is None:
        raise LadderError(_in_order(whole))
    return found


def _mount_policy(
    document: Document, folder: Path, env: Mapping[str, str], allow_unset: bool
) -> bool:
    """Put the content of a policy file in the place of its path; return False if there is none to read."""
    name = document.data.get("policy")
    if not isinstance(name, str):
        return True
    del document.data["policy"]
    if document.is_unresolved(("policy",)):
        return False
    file = folder / name
    try:
        text = read_file(file, shown=str(file))
    except LadderError as exc:
        shown = document.shown(("policy",), name)
        message = f"{shown} {exc.problems[0].message}"
        document.report(("policy",), message, "a policy file, or a mapping with `kind`")
        return False
    try:
        other = open_document(text, file=str(file), env=env, allow_unset=allow_unset)
    except LadderError as exc:
        document.problems.extend(exc.problems)
        return False
    document.mount("policy", other)
    return True


def _report(error: ErrorDetails, document: Document) -> None:
    """Translate one of pydantic's errors: where it is in the file, what was given, what is allowed."""
    place = locate(error["loc"], LadderConfig)
    path, kind = place.path, error["type"]
    value = _value_at(document.data, path)
    if kind == "extra_forbidden" and place.table is not None:
        known = list(place.table.model_fields)
        message = f"unknown key{nearest(str(path[-1]), known)}"
        document.report(path, message, ", ".join(known))
    elif kind == "missing":
        document.report(path, "is missing", place.allowed)
    elif kind == "union_tag_not_found":
        _report_kind(place, value, document)
    elif kind == "cascade":
        of_key = error["loc"][-1] == "[key]"
        given = f"{document.shown(path, value)} " if place.shows_value and not of_key else ""
        detail = error["ctx"]["detail"]
        more = f": {detail}" if detail and not document.is_secret(path) else ""
        document.report(path, given + error["msg"] + more, place.allowed)
    else:
        document.report(path, _given(place, kind, value, document), place.allowed)


def _report_kind(place: Place, value: Any, document: Document) -> None:
    """Report a mapping whose kind is not one of those there are."""
    first = next(iter(members(place.annotation).values()))
    model, _ = plain_type(first)
    has_kind = isinstance(model, type) and "kind" in getattr(model, "model_fields", {})
    if not isinstance(value, dict) or not has_kind:
        message = f"{_type_words(value)} given" if has_kind else _gate_words(place, value, document)
        document.report(place.path, message, place.allowed)
        return
    kinds = _kind_words(place)
    path = (*place.path, "kind")
    if "kind" not in value:
        document.report(place.path, "`kind` is missing", kinds)
        return
    given = value["kind"]
    if isinstance(given, str):
        hint = nearest(given, kinds.split(" or "))
        hint = "" if document.is_unresolved(path) else hint
        document.report(path, f"{document.shown(path, given)} is no kind{hint}", kinds)
    else:
        document.report(path, f"{_type_words(given)} given", kinds)


def _kind_words(place: Place) -> str:
    models = [plain_type(choice)[0] for choice in members(place.annotation).values()]
    return " or ".join(locate(("kind",), model).allowed or "" for model in models)


def _gate_words(place: Place, value: Any, document: Document) -> str:
    if isinstance(value, dict):
        return "a mapping with neither `regex` nor `python`"
    return f"{document.shown(place.path, value)} is no gate"


def _given(place: Place, kind: str, value: Any, document: Document) -> str:
    """Return what is wrong with a value, quoting it only where that is safe."""
    if kind in ("too_short", "string_too_short"):
        return "is empty"
    if not place.shows_value:
        return f"{_type_words(value)} given"
    shown = document.shown(place.path, value)
    if kind == "literal_error":
        hint = nearest(str(value), (place.allowed or "").split(" or "))
        return f"{shown} is not one of the choices{hint}"
    if kind.endswith("_type"):
        return f"{shown} is {_type_words(value)}"
    if kind in ("greater_than", "greater_than_equal", "less_than", "less_than_equal"):
        return f"{shown} is out of range"
    if kind == "finite_number":
        return f"{shown} is not a finite number"
    if kind == "string_too_long":
        return "is too long"
    return f"{shown} is not right here"


def _type_words(value: Any) -> str:
    if value is None:
        return "nothing (null)"
    names = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list"}
    return names.get(type(value), "a mapping")


def _value_at(data: Any, path: KeyPath) -> Any:
    for part in path:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return None
    return data


def _sound_parts(data: Mapping[str, Any], folder: Path, *, policy_read: bool) -> Parts:
    providers, ladder = data.get("providers"), data.get("ladder")
    return Parts(
        folder=folder,
        providers=(
            {name: _sound_fields(_PROVIDER, ProviderConfig, raw) for name, raw in providers.items()}
            if isinstance(providers, dict)
            else None
        ),
        rungs=(
            [_sound_fields(_RUNG, RungConfig, raw) for raw in ladder]
            if isinstance(ladder, list)
            else []
        ),
        scorer=_sound_fields(_SCORER, ScorerConfig, data.get("scorer", {})),
        policy=_sound_fields(_POLICY, PolicyConfig, data.get("policy", {})) if policy_read else {},
        log=_sound_fields(_LOG, LogConfig, data.get("log")),
        metadata=data["metadata"] if isinstance(data.get("metadata"), dict) else {},
    )


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


def _in_order(document: Document) -> list[Problem]:
    """Return the mistakes in the order of the file, mounted files last, cut to a readable number."""
    found = sorted(
        dict.fromkeys(document.problems), key=lambda p: (p.file != document.file, p.line or 0)
    )
    if len(found) <= MAX_PROBLEMS:
        return found
    more = Problem(path="", message="there are more mistakes after these", file=document.file)
    return [*found[:MAX_PROBLEMS], more]


def _with_absolute_paths(config: LadderConfig, document: Document, folder: Path) -> LadderConfig:
    def absolute(path: str, place: KeyPath) -> str:
        return path if document.is_unresolved(place) else str((folder / path).absolute())

    providers = {
        name: provider.model_copy(
            update={"path": absolute(provider.path, ("providers", name, "path"))}
        )
        if isinstance(provider, RecordedProvider)
        else provider
        for name, provider in config.providers.items()
    }
    changed: dict[str, Any] = {"providers": providers}
    if isinstance(config.scorer, TrainedScorer):
        path = absolute(config.scorer.path, ("scorer", "path"))
        changed["scorer"] = config.scorer.model_copy(update={"path": path})
    if config.log is not None:
        path = absolute(config.log.path, ("log", "path"))
        changed["log"] = config.log.model_copy(update={"path": path})
    return config.model_copy(update=changed)
