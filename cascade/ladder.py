"""A ladder as the engine runs it: rungs from the cheapest to the dearest, and what each may be asked.

Ladders come from YAML (`cascade.config`) or are made in code; both are checked here.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import msgspec

from .errors import LadderError, Problem
from .pricing import Price

__all__ = ["Ladder", "OnUnknown", "Rung", "ladder_problems"]

OnUnknown = Literal["accept", "escalate"]
"""What to do with an answer whose confidence is None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One model of the ladder.

    Attributes:
        model: The provider's name of the model.
        provider: Name of the provider that serves it.
        accept: Confidence in [0, 1] from which its answer is accepted; None: never by confidence
            alone, only as the last rung.
        unknown: What to do when the confidence of its answer cannot be measured.
        price: Its prices, or None when unknown: costs are then None.
        max_tokens: Output limit sent when the request sets none; None: no limit is sent.
        top_logprobs: Alternatives asked for per token, 0 to 20.
        extra: Further request fields, sent as they are.
        context_window: Tokens that prompt and answer may have together; None when unknown.
        expected_s: Seconds a call takes as long as nothing has been measured; None when unknown.
        compression: Version of what shortens its prompts; None when they are sent as they are.
    """

    model: str
    provider: str
    accept: float | None = None
    unknown: OnUnknown = "escalate"
    price: Price | None = None
    max_tokens: int | None = None
    top_logprobs: int = 5
    extra: Mapping[str, Any] = field(default_factory=dict)
    context_window: int | None = None
    expected_s: float | None = None
    compression: str | None = None


_NO_PART_OF_ANSWERS = ("context_window", "expected_s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """Rungs in the order they are named, cheapest first.

    Attributes:
        name: What the decision log calls it.
        rungs: At least one; no model of one provider twice.
        metadata: Whatever the user wants in every decision record.
        version: Digest of the rungs, 12 hex digits: it changes when anything that changes answers does.

    Raises:
        LadderError: From the constructor, naming every mistake.
    """

    name: str
    rungs: tuple[Rung, ...]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    version: str = field(init=False)

    def __post_init__(self) -> None:
        problems = ladder_problems(self.rungs)
        if problems:
            raise LadderError(problems)
        names = [f.name for f in fields(Rung) if f.name not in _NO_PART_OF_ANSWERS]
        content = [
            {name: _plain(getattr(r, name)) for name in names if not _is_new_and_unset(r, name)}
            for r in self.rungs
        ]
        digest = hashlib.sha256(msgspec.json.encode(content, order="deterministic")).hexdigest()
        object.__setattr__(self, "version", digest[:12])


def ladder_problems(rungs: Sequence[Rung]) -> list[Problem]:
    """Return everything wrong with `rungs`, as problems with a path but no line."""
    found: list[Problem] = []
    if not rungs:
        found.append(Problem(path="ladder", message="no rungs", allowed="at least one rung"))
    seen: dict[tuple[str, str], int] = {}
    for i, rung in enumerate(rungs):
        where = f"ladder[{i}]"
        first = seen.setdefault((rung.provider, rung.model), i)
        if first != i:
            found.append(
                Problem(
                    path=where,
                    message=f"{rung.provider}/{rung.model} is already ladder[{first}]",
                    allowed="each model of a provider once",
                )
            )
        if rung.accept is not None and not 0.0 <= rung.accept <= 1.0:  # NaN fails too
            found.append(
                Problem(
                    path=f"{where}.accept",
                    message=f"{rung.accept!r} is not a confidence",
                    allowed="a number in [0, 1]",
                )
            )
        if rung.max_tokens is not None and rung.max_tokens < 1:
            found.append(
                Problem(
                    path=f"{where}.max_tokens",
                    message=f"{rung.max_tokens!r} is not an output limit",
                    allowed="a whole number >= 1, or nothing for no limit",
                )
            )
        if rung.context_window is not None and rung.context_window < 1:
            found.append(
                Problem(
                    path=f"{where}.context_window",
                    message=f"{rung.context_window!r} is not a number of tokens",
                    allowed="a whole number >= 1, or nothing when it is not known",
                )
            )
        if rung.expected_s is not None and not 0.0 < rung.expected_s < math.inf:
            found.append(
                Problem(
                    path=f"{where}.expected_s",
                    message=f"{rung.expected_s!r} is not a time",
                    allowed="seconds > 0, or nothing when it is not known",
                )
            )
        if not 0 <= rung.top_logprobs <= 20:
            found.append(
                Problem(
                    path=f"{where}.top_logprobs",
                    message=f"{rung.top_logprobs!r} alternatives cannot be asked for",
                    allowed="0 to 20",
                )
            )
    return found


def _is_new_and_unset(rung: Rung, name: str) -> bool:
    """Whether a field came later and is not used: versions of ladders without it stay as they were."""
    return name == "compression" and rung.compression is None


def _plain(value: Any) -> Any:
    if isinstance(value, Price):
        return {f.name: getattr(value, f.name) for f in fields(value)}
    return dict(value) if isinstance(value, Mapping) else value
