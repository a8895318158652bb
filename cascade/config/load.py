"""Loads ladder files: text in, a checked `LadderConfig` out, or every mistake at once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..errors import LadderError, Problem
from .caches import DiskCache
from .checks import check_parts
from .compress import with_absolute_paths
from .document import MAX_PROBLEMS, Document, open_document, read_file
from .mistakes import report_mistakes
from .parts import POLICY, Parts, sound_parts
from .providers import RecordedProvider
from .reliability_checks import check_reliability
from .schema import LadderConfig
from .scorers import TrainedScorer
from .stream_checks import check_streams
from .tenants import SqliteLedger
from .yaml_source import KeyPath

__all__ = [
    "LadderReading",
    "load_ladder_file",
    "load_policy_file",
    "parse_ladder",
    "policy_from_mapping",
    "read_ladder_file",
]


@dataclass(slots=True, kw_only=True)
class LadderReading:
    """A ladder file that was read and checked by itself, and may be checked further.

    Further checks report what they find to `document`; `config` has the last word.

    Attributes:
        document: The file, with the mistakes found so far.
        parts: What is sound in it.
    """

    document: Document
    parts: Parts
    _config: LadderConfig | None = field(repr=False)

    def config(self) -> LadderConfig:
        """Return the ladder.

        Raises:
            LadderError: With every mistake, in the order of the file.
        """
        if self._config is None and not self.document.problems:
            self.document.report_unresolved()
        if self._config is None or self.document.problems:
            raise LadderError(_in_order(self.document))
        return _with_absolute_paths(self._config, self.document, self.parts.folder)


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
    return read_ladder_file(path, env, allow_unset=allow_unset).config()


def read_ladder_file(
    path: str | Path,
    env: Mapping[str, str],
    *,
    allow_unset: bool = False,
    untrained: bool = False,
    text: bytes | None = None,
) -> LadderReading:
    """Return what a YAML file says, so that more of it can be checked before its mistakes are told.

    Args:
        path: As for `load_ladder_file`.
        env: As for `load_ladder_file`.
        allow_unset: As for `load_ladder_file`.
        untrained: Whether what `cascade train` and `cascade tune` write may be missing yet: the
            folder of the scorer, and the policy file, for which the default policy then stands.
        text: What the file held when it was read; None: it is read now.

    Raises:
        LadderError: The file cannot be read at all, or is not one mapping.
    """
    if text is None:
        text = read_file(Path(path), shown=str(path))
    return _read(text, file=str(path), env=env, allow_unset=allow_unset, untrained=untrained)


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
    return _read(text, file=file, env=env, allow_unset=allow_unset, untrained=False).config()


def _read(
    text: str | bytes,
    *,
    file: str | None,
    env: Mapping[str, str],
    allow_unset: bool,
    untrained: bool,
) -> LadderReading:
    folder = Path(file).parent if file is not None else Path()
    document = open_document(text, file=file, env=env, allow_unset=allow_unset)
    policy_read = _mount_policy(document, folder, env, allow_unset, untrained)
    config = None
    try:
        config = LadderConfig.model_validate(document.data)
    except ValidationError as exc:
        report_mistakes(exc, document)
    parts = sound_parts(document, folder, policy_read=policy_read)
    check_parts(parts, document, untrained=untrained)
    check_reliability(document)
    check_streams(document)
    return LadderReading(document=document, parts=parts, _config=config)


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
        found = POLICY.validate_python(policy.data)
    except ValidationError as exc:
        report_mistakes(exc, whole, under=("policy",))
    if whole.problems or found is None:
        raise LadderError(_in_order(whole))
    return found


def _mount_policy(
    document: Document, folder: Path, env: Mapping[str, str], allow_unset: bool, untrained: bool
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
        if untrained and isinstance(exc.__cause__, FileNotFoundError):
            return False
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
    if isinstance(config.ledger, SqliteLedger):
        path = absolute(config.ledger.path, ("ledger", "path"))
        changed["ledger"] = config.ledger.model_copy(update={"path": path})
    if config.compress is not None:
        changed["compress"] = with_absolute_paths(config.compress, ("compress",), absolute)
    changed["ladder"] = tuple(
        rung
        if not rung.compress
        else rung.model_copy(
            update={
                "compress": with_absolute_paths(rung.compress, ("ladder", i, "compress"), absolute)
            }
        )
        for i, rung in enumerate(config.ladder)
    )
    if config.cache is not None:
        update: dict[str, Any] = {}
        if isinstance(config.cache, DiskCache):
            update["path"] = absolute(config.cache.path, ("cache", "path"))
        near = config.cache.near
        if near is not None and near.scorer is not None:
            scorer = absolute(near.scorer, ("cache", "near", "scorer"))
            update["near"] = near.model_copy(update={"scorer": scorer})
        changed["cache"] = config.cache.model_copy(update=update)
    if config.log is not None:
        path = absolute(config.log.path, ("log", "path"))
        changed["log"] = config.log.model_copy(update={"path": path})
    return config.model_copy(update=changed)
