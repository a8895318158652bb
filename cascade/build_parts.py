"""Makes what a ladder file names in Python: scorer, policy and gates; tells what is wrong with them.

Works on the sound parts of a file that may have mistakes elsewhere, so that all are told at once.
"""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from .errors import ScorerError
from .policies import Agreement
from .policy import Policy, Thresholds
from .ports import PrefixScorer, Scorer
from .rules import BUILT_IN_GATES, CallableGate, Gate, RegexGate
from .types import Answer, Request

if TYPE_CHECKING:
    from .config.load import LadderReading
    from .config.yaml_source import KeyPath

__all__ = ["SCORER_GROUP", "PythonParts", "same_claim"]

SCORER_GROUP = "cascade.scorers"
"""Entry-point group of the scorers that installed packages offer."""

_IMPORTABLE = "package.module:name"
_LENGTHS = {
    "agreement": ("models", "three different models"),
    "chain": ("accept", "one threshold for each model but the last"),
    "cascade_routing": ("cost_usd", "one cost for each model"),
    "induction": ("cost_usd", "one cost for each model"),
    "routing": ("cost_usd", "one cost for each model"),
    "weighted": ("weights", "one weight for each model, with the sum 1"),
}
"""The key of a policy whose value does not fit its others, and what would."""


class PythonParts:
    """The parts of one ladder file that come from Python.

    Each method returns what the file names, or None when that cannot be made; then, and only then,
    the mistake is in the reading's document, unless it already was.

    Attributes:
        notes: What its user should know of a part that was made.
    """

    def __init__(self, reading: LadderReading) -> None:
        self._document = reading.document
        self._parts = reading.parts
        self._scorer_version: str | None = None
        self._prefix_scorer: PrefixScorer | None = None
        self.notes: list[str] = []

    def scorer(self) -> Scorer | None:
        """Return the scorer; None too for one that asks a model, and for none."""
        wanted = self._parts.scorer
        kind = wanted.get("kind")
        if kind == "trained":
            return self._trained(wanted.get("path"))
        if kind == "plugin":
            return self._plugin(wanted)
        if kind == "logprob" and "measure" in wanted:
            import scorers
            from scorers.prefix_scorer import LogprobPrefixScorer

            self._prefix_scorer = LogprobPrefixScorer(wanted["measure"])
            return scorers.LogprobScorer(wanted["measure"])
        custom: Scorer | None = None
        if isinstance(kind, str) and ":" in kind:
            custom = self._make(kind, wanted, ("scorer", "kind"), ("score",))
            if callable(getattr(custom, "score_prefix", None)):
                self._prefix_scorer = cast("PrefixScorer", custom)
        return custom

    def _trained(self, path: str | None) -> Scorer | None:
        place: KeyPath = ("scorer", "path")
        if path is None or self._is_settled(place):
            return None
        from scorers.artifact import load
        from scorers.cold_start import ColdStartScorer, is_cold_start, load_cold_start
        from scorers.scorer import TrainedScorer

        models = self._models()
        folder = str((self._parts.folder / path).absolute())
        try:
            if is_cold_start(Path(folder)):
                cold = load_cold_start(Path(folder), models)
                self._scorer_version = cold.version
                self.notes.append(
                    f"the scorer ({cold.version}) is a ranking, not a probability: `accept: 0.4` "
                    f"sends about 40 % of like traffic on; label 25 answers or more and train"
                )
                return None if models is None else ColdStartScorer(cold, models)
            artifact = load(folder, models)
            self._scorer_version = artifact.version
            if models is None:
                return None
            scorer = TrainedScorer(artifact, models)
            if artifact.prefixes is not None:
                from scorers.prefix_scorer import TrainedPrefixScorer

                self._prefix_scorer = TrainedPrefixScorer(artifact, models, scorer)
            return scorer
        except ScorerError as exc:
            said = str(exc)
            if self._document.is_secret(place):
                said = said.replace(folder, self._document.shown(place, path))
            self._report(place, said, "a scorer trained on every model of the ladder")
            return None

    def _plugin(self, wanted: Mapping[str, Any]) -> Scorer | None:
        from importlib.metadata import entry_points

        place: KeyPath = ("scorer", "name")
        name = wanted.get("name")
        if name is None or self._is_settled(place):
            return None
        offered = {point.name: point for point in entry_points(group=SCORER_GROUP)}
        point = offered.get(name)
        if point is None:
            known = ", ".join(sorted(offered)) or f"none is installed in the group {SCORER_GROUP}"
            shown = self._document.shown(place, name)
            self._report(place, f"no installed package offers a scorer {shown}", known)
            return None
        made: Scorer | None = self._make(point.value, wanted, place, ("score",))
        return made

    def prefix_scorer(self) -> PrefixScorer | None:
        """Return what scores beginnings of answers, or None. To be called after `scorer`.

        A scorer of one's own does so itself, if it has a method `score_prefix`.
        """
        return self._prefix_scorer

    def policy(self) -> Policy | None:
        """Return the policy. To be called after `scorer`, whose version it may have been tuned with."""
        fields, whole = self._parts.policy, self._parts.whole_policy
        kind = fields.get("kind")
        if isinstance(kind, str) and ":" in kind:
            custom: Policy | None = self._make(kind, fields, ("policy", "kind"), ("decide",))
            return custom
        tuned_with = fields.get("scorer")
        if tuned_with is not None and self._scorer_version not in (None, tuned_with):
            place: KeyPath = ("policy", "scorer")
            if self._document.is_secret(place):
                tuned_with = self._document.shown(place, tuned_with)
            message = (
                f"was tuned with the scorer {tuned_with}; the ladder's is {self._scorer_version}"
            )
            self._report(place, message, "tune again with `cascade tune`")
        if whole is None:
            return None
        if kind == "thresholds":
            return Thresholds()  # its thresholds are in the ladder already
        try:
            policy: Policy = whole.to_policy()
        except ValueError as exc:
            self._report_policy(str(kind), str(exc))
            return None
        return replace(policy, same=same_claim) if isinstance(policy, Agreement) else policy

    def _report_policy(self, kind: str, message: str) -> None:
        """Report a policy whose parts do not fit, at the key that is most likely wrong."""
        state = re.fullmatch(r"continuations\[(\d+)\]: (.*)", message)
        if state:
            place: KeyPath = ("policy", "continuations", int(state.group(1)))
            self._report(place, state.group(2), "the policy's `models`")
            return
        key, allowed = _LENGTHS.get(kind, (None, None))
        self._report(("policy",) if key is None else ("policy", key), message, allowed)

    def gates(self) -> list[Gate]:
        """Return the gates that can be made, in the file's order."""
        made: list[Gate] = []
        for i, gate in self._parts.gates:
            if isinstance(gate, str):
                made.append(BUILT_IN_GATES[gate]())
            elif hasattr(gate, "regex"):
                made.append(RegexGate(pattern=re.compile(gate.regex), name=gate.name or "regex"))
            else:
                function = self._import(gate.python, ("gates", i, "python"))
                if function is not None:
                    name = gate.name or gate.python.partition(":")[2]
                    made.append(CallableGate(function=function, name=name))
        return made

    def private(self) -> Callable[[Request], bool] | None:
        """Return what `cache.private` names, or None where it names nothing."""
        cache = self._document.data.get("cache")
        name = cache.get("private") if isinstance(cache, Mapping) else None
        place: KeyPath = ("cache", "private")
        if not isinstance(name, str) or ":" not in name or self._is_settled(place):
            return None
        found: Callable[[Request], bool] | None = self._import(name, place)
        return found

    def _make(
        self, name: str, wanted: Mapping[str, Any], place: KeyPath, methods: Sequence[str]
    ) -> Any:
        """Return what calling `name` with the `options` of `wanted` gives; `place` is where it is named."""
        options: KeyPath = (place[0], "options")
        found = self._import(name, place)
        if found is None or "options" not in wanted or self._document.waits_below(options):
            return None
        shown = self._document.shown(place, name)
        try:
            made = found(**wanted["options"])
        except Exception as exc:  # noqa: BLE001 - somebody else's constructor: say that it failed
            self._report(options, f"{shown} cannot be made ({type(exc).__name__})")
            return None
        missing = [m for m in methods if not callable(getattr(made, m, None))]
        if missing:
            self._report(place, f"{shown} has no method {', '.join(missing)}")
            return None
        return made

    def _import(self, name: str, place: KeyPath) -> Any:
        if self._is_settled(place):
            return None
        shown = self._document.shown(place, name)
        module, _, attribute = name.partition(":")
        try:
            found: Any = importlib.import_module(module)
            for part in attribute.split("."):
                found = getattr(found, part)
        except Exception as exc:  # noqa: BLE001 - importing runs somebody else's module
            told = type(exc).__name__
            if isinstance(exc, ImportError | AttributeError) and not self._document.is_secret(
                place
            ):
                told = f"{told}: {exc}".partition("\n")[0]
            self._report(place, f"{shown} cannot be imported ({told})", _IMPORTABLE)
            return None
        if not callable(found):
            self._report(place, f"{shown} cannot be called", "a function or a class")
            return None
        return found

    def _models(self) -> list[str] | None:
        """Return the models of the rungs, or None while one of them is not known."""
        models = [rung.get("model") for rung in self._parts.rungs]
        known = [model for model in models if model is not None]
        waits = any(
            self._document.is_unresolved(("ladder", i, "model")) for i in range(len(models))
        )
        return known if len(known) == len(models) and not waits else None

    def _is_settled(self, place: KeyPath) -> bool:
        """Return whether there is nothing more to be found out about the value at `place`."""
        return self._document.is_reported(place) or self._document.is_unresolved(place)

    def _report(self, place: KeyPath, message: str, allowed: str | None = None) -> None:
        if not self._document.is_reported(place):
            self._document.report(place, message, allowed)


def same_claim(request: Request | None, first: Answer, second: Answer) -> bool | None:
    """Compare what two answers claim, as the trained scorer and replay do."""
    from scorers.claims import find_claim, same_claim
    from scorers.features import read_prompt

    lettered = request is not None and bool(read_prompt(request.prompt).options)
    claims = [find_claim(answer.text or "", letters=lettered) for answer in (first, second)]
    said = same_claim(claims[0], claims[1])
    return None if math.isnan(said) else said >= 0.5
