"""Which stages run on a request: the lossless ones, those with evidence, and those the user insists on."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ..types import Request
from .evidence import Evidence
from .pipeline import Stage

__all__ = ["EvidenceGate"]


class EvidenceGate:
    """Lets a lossy stage run only where there is evidence that it does no harm, or where it is forced.

    Args:
        evidence: What `cascade tune --compress` found; None: nothing.
        forced: Names of stages that run without evidence, because the user says so.
    """

    def __init__(self, evidence: Evidence | None = None, forced: Collection[str] = ()) -> None:
        self._evidence = Evidence(()) if evidence is None else evidence
        self._forced = frozenset(forced)
        self.version = f"gate:{self._evidence.version}:{','.join(sorted(self._forced))}"

    def lets(self, stage: Stage) -> bool:
        """Return whether a stage may run on any request at all."""
        return not stage.lossy or stage.name in self._forced or self._evidence.has(stage.name)

    def allowed(self, stages: Sequence[Stage], request: Request, *, model: str = "") -> list[Stage]:
        """Return the stages that may run on a request to a model, in order."""
        proved = self._evidence.allowed(stages, request, model=model)
        return [stage for stage in stages if stage in proved or stage.name in self._forced]
