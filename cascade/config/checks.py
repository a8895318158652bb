"""What no single key shows: mistakes in how the parts of a ladder fit together.

Works on whatever parts are sound: of a part that is broken nothing is concluded.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .document import Document
from .parts import Parts
from .yaml_source import KeyPath

__all__ = ["check_parts", "nearest"]

_FORECASTING = ("routing", "cascade_routing", "induction")
_ENGINE_FIELDS = ("messages", "model", "stream")


def check_parts(parts: Parts, document: Document, *, untrained: bool = False) -> None:
    """Report every mistake in how the parts fit together to `document`.

    With `untrained`, the folder of a scorer need not be there yet.
    """
    _check_rung_names(parts, document)
    for i, rung in enumerate(parts.rungs):
        if document.is_full:
            return
        provider = (parts.providers or {}).get(rung.get("provider", ""), {})
        _check_threshold(i, rung, provider, parts, document)
        _check_reachable(i, rung, parts, document)
        _check_request(i, rung, provider, document)
    _check_policy_models(parts, document)
    _check_policy_scorer(parts, document)
    _check_judge(parts, document)
    _check_paths(parts, document)
    if not untrained:
        _check_scorer_path(parts, document)
    _check_free(("metadata",), parts.metadata, document)
    for name in ("scorer", "policy"):
        part = parts.scorer if name == "scorer" else parts.policy
        for key in ("options", "provenance"):
            _check_free((name, key), part.get(key), document)


def nearest(word: str, words: Iterable[str]) -> str:
    """Return `` (did you mean …?)`` when one of `words` is close to `word`, else nothing."""
    close = difflib.get_close_matches(word[:100], list(words), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _check_rung_names(parts: Parts, document: Document) -> None:
    seen: dict[tuple[str, str], int] = {}
    for i, rung in enumerate(parts.rungs):
        if document.is_full:
            return
        path: KeyPath = ("ladder", i)
        model, provider = rung.get("model"), rung.get("provider")
        if parts.providers is not None and provider is not None and provider not in parts.providers:
            place = (*path, "provider")
            hint = "" if document.is_unresolved(place) else nearest(provider, parts.providers)
            message = f"{document.shown(place, provider)} is not under `providers`{hint}"
            document.report(place, message, ", ".join(parts.providers)[:300] or None)
        if model is None or provider is None:
            continue
        if document.is_unresolved((*path, "model")) or document.is_unresolved((*path, "provider")):
            continue
        first = seen.setdefault((provider, model), i)
        if first != i:
            shown = document.shown((*path, "model"), model)
            message = f"{shown} of this provider is already ladder[{first}]"
            document.report(path, message, "each model of a provider once")


def _check_threshold(
    i: int,
    rung: Mapping[str, Any],
    provider: Mapping[str, Any],
    parts: Parts,
    document: Document,
) -> None:
    """A threshold needs something to hold against it."""
    why, remedy = _unscorable(provider, parts.scorer)
    if not why:
        return
    places: list[KeyPath] = []
    if rung.get("accept") is not None:
        places.append(("ladder", i, "accept"))
    if parts.policy.get("kind") == "thresholds" and rung.get("model") in parts.policy.get(
        "accept", {}
    ):
        places.append(("policy", "accept", rung["model"]))
    for place in places:
        message = f"a threshold with no way to score: {why}"
        document.report(place, message, f"{remedy}, or no threshold and `unknown: accept`")


def _unscorable(provider: Mapping[str, Any], scorer: Mapping[str, Any]) -> tuple[str, str]:
    """Return why answers of `provider` have no confidence and what would give one; "" if they may."""
    kind = scorer.get("kind")
    if kind == "none":
        return "`scorer` is `none`", "another scorer"
    if kind not in ("logprob", "p_true"):
        return "", ""
    if provider.get("kind") == "anthropic":
        return (
            f"the `{kind}` scorer needs log-probabilities, and Anthropic's API gives none",
            "a trained scorer, a judge, a scorer of your own",
        )
    if provider.get("logprobs") is False:
        return (
            f"the `{kind}` scorer needs log-probabilities, and the provider has `logprobs: false`",
            "`logprobs: true` at the provider",
        )
    return "", ""


def _check_reachable(i: int, rung: Mapping[str, Any], parts: Parts, document: Document) -> None:
    """Every rung but the last must have a way to be accepted; a policy of one's own may know one."""
    if i == len(parts.rungs) - 1 or parts.policy.get("kind") != "thresholds":
        return
    if not {"accept", "unknown", "model"} <= rung.keys() or "accept" not in parts.policy:
        return
    never = rung["accept"] is None and rung["unknown"] == "escalate"
    if never and rung["model"] not in parts.policy["accept"]:
        message = "its answer could never be accepted"
        document.report(("ladder", i), message, "`accept` set, or `unknown: accept`")


def _check_request(
    i: int, rung: Mapping[str, Any], provider: Mapping[str, Any], document: Document
) -> None:
    path: KeyPath = ("ladder", i)
    request = rung.get("request")
    for name in _ENGINE_FIELDS:
        if request and name in request:
            document.report((*path, "request", name), "is set by the engine", "other fields")
    _check_free((*path, "request"), request, document)
    if provider.get("kind") != "anthropic" or request is None or "max_tokens" in request:
        return
    if "max_tokens" in rung and rung["max_tokens"] is None:
        message = "is missing, and Anthropic's API demands an output limit"
        document.report((*path, "max_tokens"), message, "a whole number >= 1")


def _check_policy_models(parts: Parts, document: Document) -> None:
    models = [rung.get("model") for rung in parts.rungs]
    if None in models or any(
        document.is_unresolved(("ladder", i, "model")) for i in range(len(models))
    ):
        return
    known = [model for model in models if model is not None]
    accept = parts.policy.get("accept", {})
    named: list[tuple[KeyPath, str]] = []
    if isinstance(accept, Mapping):
        named += [(("policy", "accept", name), name) for name in accept]
    named += [
        (("policy", "models", i), name) for i, name in enumerate(parts.policy.get("models", ()))
    ]
    named += [
        (("policy", key), parts.policy[key])
        for key in ("model", "weak", "strong")
        if isinstance(parts.policy.get(key), str)
    ]
    for place, name in named:
        if name not in known and not document.is_full:
            message = f"{name!r} is not a model of a rung{nearest(str(name), known)}"
            if place[1] == "accept":
                message = f"no rung has this model{nearest(name, known)}"
            document.report(place, message, "models of the ladder")


def _check_policy_scorer(parts: Parts, document: Document) -> None:
    """Policies that weigh what was not asked yet need a scorer that forecasts it."""
    kind, scorer = parts.policy.get("kind"), parts.scorer.get("kind")
    if kind in _FORECASTING and scorer in ("logprob", "judge", "p_true", "none"):
        message = f"{kind} needs forecasts, and the `{scorer}` scorer gives none"
        document.report(("policy", "kind"), message, "a trained scorer")


def _check_judge(parts: Parts, document: Document) -> None:
    if parts.scorer.get("kind") != "judge" or parts.providers is None:
        return
    provider, place = parts.scorer.get("provider"), ("scorer", "provider")
    if provider is None or provider in parts.providers or document.is_unresolved(place):
        return
    message = (
        f"{document.shown(place, provider)} is not under `providers`"
        f"{nearest(provider, parts.providers)}"
    )
    document.report(place, message, ", ".join(parts.providers)[:300] or None)


def _check_scorer_path(parts: Parts, document: Document) -> None:
    place: KeyPath = ("scorer", "path")
    path = parts.scorer.get("path")
    if parts.scorer.get("kind") != "trained" or path is None or document.is_unresolved(place):
        return
    try:
        folder = parts.folder / path
        why = "" if folder.is_dir() else "is no folder" if folder.exists() else "does not exist"
    except (OSError, ValueError):
        why = "cannot be looked up"
    if why:
        message = f"{document.shown(place, path)} {why}"
        document.report(place, message, "what `cascade train LOG -o DIR` wrote")


def _check_paths(parts: Parts, document: Document) -> None:
    for name, provider in (parts.providers or {}).items():
        if provider.get("kind") == "recorded" and "path" in provider:
            place: KeyPath = ("providers", name, "path")
            if document.is_unresolved(place):
                continue
            why = _not_a_file(parts.folder / provider["path"])
            if why:
                shown = document.shown(place, provider["path"])
                document.report(place, f"{shown} {why}", "a traffic log, .jsonl or .jsonl.gz")
    path = parts.log.get("path")
    if path is not None and not document.is_unresolved(("log", "path")):
        folder = parts.folder / path
        try:
            blocked = folder.exists() and not folder.is_dir()
        except (OSError, ValueError):
            blocked = True
        if blocked:
            shown = document.shown(("log", "path"), path)
            document.report(("log", "path"), f"{shown} is no folder", "a folder, made if absent")


def _not_a_file(path: Path) -> str | None:
    try:
        if path.is_file():
            return None
        return "is not a file" if path.exists() else "does not exist"
    except (OSError, ValueError):
        return "cannot be looked up"


def _check_free(path: KeyPath, value: Any, document: Document) -> None:
    """Free mappings end up in JSON, which has no NaN and no infinity."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            _check_free((*path, key), item, document)
    elif isinstance(value, list):
        for i, item in enumerate(value):
            _check_free((*path, i), item, document)
    elif isinstance(value, float) and not math.isfinite(value):
        document.report(
            path, f"{document.shown(path, value)} has no place in JSON", "finite numbers"
        )
