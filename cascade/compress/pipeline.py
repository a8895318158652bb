"""Runs the stages of prompt compression in order and tells what each did."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from ..tokens import TokenCounter
from ..types import Compressed, Compression, Request, StageReport
from .draft import Draft

__all__ = ["Pipeline", "Stage"]


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


class Pipeline:
    """A `Compressor` out of stages.

    Args:
        stages: In the order they run.
        counter: Counts tokens.
    """

    def __init__(self, stages: Sequence[Stage], counter: TokenCounter | None = None) -> None:
        self.stages = tuple(stages)
        self._counter = counter or TokenCounter()
        named = "\n".join(stage.version for stage in self.stages)
        self.version = hashlib.sha256(named.encode()).hexdigest()[:12]

    def compress(
        self,
        request: Request,
        *,
        question: str | None = None,
        budget: int | None = None,
        model: str = "",
    ) -> Compressed:
        """Return the request to send in the place of `request`; see `cascade.ports.Compressor`."""
        counter = self._counter
        draft = Draft(
            request,
            question=question,
            count=lambda text: counter.count(text, model),
            budget=budget,
        )
        done: list[tuple[Stage, str, int | None]] = []
        for stage in self.stages:
            removed = stage.apply(draft)
            done.append((stage, removed, draft.tokens() if removed else None))
        changed = draft.finish()
        if changed is request:
            said = Compression(tokens_before=None, tokens_after=None, note=draft.note)
            return Compressed(request=request, compression=said)
        before = tokens = draft.original_tokens()
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
        return Compressed(
            request=changed,
            compression=Compression(
                tokens_before=before,
                tokens_after=tokens,
                stages=tuple(reports),
                counted=counter.how(model),
                note=draft.note,
            ),
        )
