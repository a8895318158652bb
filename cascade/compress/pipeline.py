"""Runs the stages of prompt compression in order and tells what each did."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from ..tokens import TokenCounter
from ..types import Compressed, Compression, Request, StageReport
from .draft import Draft

__all__ = ["Gate", "Pipeline", "Stage"]


@runtime_checkable
class Stage(Protocol):
    """One way to make a prompt shorter.

    Attributes:
        name: What reports call it.
        lossy: Whether something may be missed that it removes; without evidence such a stage is off.
        version: Changes whenever what it makes of a prompt may change.
    """

    name: str
    lossy: bool
    version: str

    def apply(self, draft: Draft) -> str:
        """Make the draft shorter; return what was removed in words without any of its text, or ""."""


class Gate(Protocol):
    """Says which stages run on a request; `evidence.Evidence` is one.

    Attributes:
        version: Changes whenever what it says may change.
    """

    version: str

    def allowed(self, stages: Sequence[Stage], request: Request, *, model: str = "") -> list[Stage]:
        """Return those of the stages that may run, in order."""


class Pipeline:
    """A `Compressor` out of stages.

    Args:
        stages: In the order they run.
        counter: Counts tokens.
        gate: Says which lossy stages may run on a prompt; None: all.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        counter: TokenCounter | None = None,
        *,
        gate: Gate | None = None,
    ) -> None:
        self.stages = tuple(stages)
        self.counter = counter or TokenCounter()
        self._gate = gate
        named = "\n".join(stage.version for stage in self.stages)
        named += "" if gate is None else gate.version
        self.version = hashlib.sha256(named.encode()).hexdigest()[:12]

    def compress(
        self,
        request: Request,
        *,
        question: str | None = None,
        budget: int | None = None,
        model: str = "",
        keep_prefix: int = 0,
        tenant: str | None = None,
        count_unchanged: bool = False,
    ) -> Compressed:
        """Return the request to send in the place of `request`; see `cascade.ports.Compressor`.

        With `count_unchanged` the tokens of a request that stays as it is are counted too, which takes
        longer than finding out that there is nothing to do.
        """
        counter, gate = self.counter, self._gate
        draft = Draft(
            request,
            question=question,
            count=lambda text: counter.count(text, model),
            budget=budget,
            keep_prefix=keep_prefix,
            tenant=tenant,
        )
        done: list[tuple[Stage, str, int | None]] = []
        tokens: int | None = None
        stages = self.stages
        if gate is not None:
            stages = tuple(gate.allowed(self.stages, request, model=model))
            off = [stage.name for stage in self.stages if stage not in stages]
            if off:
                draft.say(f"off without evidence: {', '.join(off)}")
        for stage in stages:
            before = draft.state()
            removed = stage.apply(draft)
            after = None
            if removed:
                tokens = draft.original_tokens() if tokens is None else tokens
                after = draft.tokens()
                if after > tokens:  # fewer characters may be more tokens
                    draft.restore(before)
                    removed, after = "", None
                else:
                    tokens = after
            done.append((stage, removed, after))
        changed = draft.finish()
        if changed is request and not count_unchanged:
            said = Compression(tokens_before=None, tokens_after=None, note=draft.note)
            return Compressed(request=request, compression=said)
        original = draft.original_tokens()
        reports = _reports(original, done)
        return Compressed(
            request=changed,
            compression=Compression(
                tokens_before=original,
                tokens_after=reports[-1].tokens_after,
                stages=reports,
                counted=counter.how(model),
                note=draft.note,
            ),
        )


def _reports(tokens: int, done: Sequence[tuple[Stage, str, int | None]]) -> tuple[StageReport, ...]:
    """Return what each stage did; a stage that removed nothing leaves the tokens as they were."""
    reports: list[StageReport] = []
    for stage, removed, after in done:
        left = tokens if after is None else after
        reports.append(
            StageReport(
                name=stage.name,
                tokens_before=tokens,
                tokens_after=left,
                removed=removed,
                lossy=stage.lossy,
            )
        )
        tokens = left
    return tuple(reports)
