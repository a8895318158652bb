"""The composition root: makes an engine out of a ladder file. The only reader of the environment."""

from __future__ import annotations

import importlib
import math
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import ConfigError, LadderError, Problem, ScorerError
from .policies import Agreement
from .policy import Policy, Thresholds
from .ports import Client, Scorer
from .pricing import Price, cost_usd
from .rules import BUILT_IN_GATES, CallableGate, Gate, RegexGate
from .types import Answer, Request

if TYPE_CHECKING:
    from .config import LadderConfig
    from .engine import Cascade
    from .ladder import Ladder

__all__ = [
    "cache_folder",
    "check_file",
    "default_config_path",
    "engine_from_yaml",
]

CONFIG_VARIABLE = "CASCADE_CONFIG"
DEFAULT_CONFIG = "cascade.yaml"
SCORER_GROUP = "cascade.scorers"


def default_config_path() -> Path:
    """Return the ladder file to use when none is named: ``$CASCADE_CONFIG``, or ``./cascade.yaml``.

    Raises:
        ConfigError: There is none; the message says how to name one.
    """
    named = os.environ.get(CONFIG_VARIABLE)  # noqa: TID251 - the composition root
    path = Path(named) if named else Path(DEFAULT_CONFIG)
    if path.is_file():
        return path
    where = (
        f"${CONFIG_VARIABLE} names {named!r}, which is not a file"
        if named
        else (f"${CONFIG_VARIABLE} is not set and there is no ./{DEFAULT_CONFIG}")
    )
    raise ConfigError(
        f"no ladder to ask: {where}; write one (docs/configuration.md) or pass -c FILE"
    )


def cache_folder() -> Path:
    """Return the user's folder for what can be fetched again (models), by the XDG convention."""
    base = os.environ.get("XDG_CACHE_HOME")  # noqa: TID251 - the composition root
    return (Path(base) if base else Path.home() / ".cache") / "cascade"


def engine_from_yaml(path: str | Path, kind: type[Cascade], **overrides: Any) -> Cascade:
    """Return an engine as the ladder file describes it.

    Args:
        path: The ladder file.
        kind: The class to make.
        **overrides: Keywords of its constructor that replace what the file says, and ``http``: an
            `httpx.AsyncClient` or transport that every provider uses.

    Raises:
        LadderError: The file has mistakes; all of them are in `.problems`.
        ConfigError: An override has an unknown name.
    """
    config, ladder = _load(path)
    http = overrides.pop("http", None)
    parts = _Parts(config, str(path))
    options: dict[str, Any] = {
        "scorer": parts.scorer(),
        "policy": parts.policy(),
        "gates": parts.gates(),
        "on_all_rejected": config.on_all_rejected,
        "keep": config.keep,
    }
    parts.raise_problems()
    clients = _clients(config, http)
    options["clients"] = clients
    options["scorer"] = options["scorer"] or _asking_scorer(config, ladder, clients)
    if config.log is not None:
        options |= {"sink": _sink(config), "log_text": config.log.text}
    try:
        return kind(ladder, **(options | overrides))
    except TypeError as exc:
        raise ConfigError(f"from_yaml: {exc}") from exc


def check_file(path: str | Path, *, allow_unset: bool = False) -> list[str]:
    """Check everything about a ladder file that can be checked without a call.

    Args:
        path: The ladder file.
        allow_unset: Take environment variables that are not set for given.

    Returns:
        Each rung in words, in order.

    Raises:
        LadderError: The file has mistakes; all of them are in `.problems`.
    """
    config, ladder = _load(path, allow_unset=allow_unset)
    parts = _Parts(config, str(path))
    parts.scorer()
    parts.policy()
    parts.gates()
    parts.raise_problems()
    return [
        rung.model
        + ("" if rung.accept is None else f" (accept ≥ {rung.accept:g})")
        + ("" if rung.price is not None else " (price unknown)")
        for rung in ladder.rungs
    ]


def _load(path: str | Path, *, allow_unset: bool = False) -> tuple[LadderConfig, Ladder]:
    from .catalogue import catalogue_price
    from .config import load_ladder_file

    environment: Mapping[str, str] = os.environ  # noqa: TID251 - the composition root
    config = load_ladder_file(path, environment, allow_unset=allow_unset)
    return config, config.to_ladder(catalogue_price)


class _Parts:
    """Makes the parts that come from Python: scorer, policy, gates; collects what is wrong."""

    def __init__(self, config: LadderConfig, file: str) -> None:
        self._config = config
        self._file = file
        self._problems: list[Problem] = []
        self._scorer_version: str | None = None

    def raise_problems(self) -> None:
        """Raise everything that was wrong, at once."""
        if self._problems:
            raise LadderError(self._problems)

    def scorer(self) -> Scorer | None:
        """Return the scorer the file names."""
        from .config import CustomScorer, LogprobScorer, PluginScorer, TrainedScorer

        wanted = self._config.scorer
        if isinstance(wanted, TrainedScorer):
            return self._trained(wanted.path)
        if isinstance(wanted, PluginScorer):
            return self._plugin(wanted.name, wanted.options)
        if isinstance(wanted, LogprobScorer):
            import scorers

            return scorers.LogprobScorer(wanted.measure)
        if isinstance(wanted, CustomScorer):
            custom: Scorer | None = self._make(wanted.kind, wanted.options, "scorer", ("score",))
            return custom
        return None

    def _trained(self, path: str) -> Scorer | None:
        from scorers.artifact import load
        from scorers.scorer import TrainedScorer

        models = [rung.model for rung in self._config.ladder]
        try:
            artifact = load(path, models)
            self._scorer_version = artifact.version
            return TrainedScorer(artifact, models)
        except ScorerError as exc:
            self._report("scorer.path", str(exc), "a scorer trained on every model of the ladder")
            return None

    def _plugin(self, name: str, options: Mapping[str, Any]) -> Scorer | None:
        from importlib.metadata import entry_points

        offered = {point.name: point for point in entry_points(group=SCORER_GROUP)}
        point = offered.get(name)
        if point is None:
            known = ", ".join(sorted(offered)) or f"none is installed in the group {SCORER_GROUP}"
            self._report("scorer.name", f"no installed package offers a scorer {name!r}", known)
            return None
        made: Scorer | None = self._make(point.value, options, "scorer", ("score",), key="name")
        return made

    def policy(self) -> Policy | None:
        """Return the policy the file names."""
        from .config import CustomPolicy, ThresholdPolicy

        wanted = self._config.policy
        if isinstance(wanted, CustomPolicy):
            custom: Policy | None = self._make(wanted.kind, wanted.options, "policy", ("decide",))
            return custom
        if wanted.scorer is not None and self._scorer_version not in (None, wanted.scorer):
            message = (
                f"was tuned with the scorer {wanted.scorer}; the ladder's is {self._scorer_version}"
            )
            self._report("policy.scorer", message, "tune again with `cascade tune`")
        if isinstance(wanted, ThresholdPolicy):
            return Thresholds()  # its thresholds are in the ladder already
        try:
            policy = wanted.to_policy()
        except ValueError as exc:
            self._report("policy", str(exc))
            return None
        if isinstance(policy, Agreement):
            return replace(policy, same=_same_claim)
        return policy

    def gates(self) -> list[Gate]:
        """Return the gates the file names, in its order."""
        from .config import RegexGate as RegexConfig

        made: list[Gate] = []
        for i, gate in enumerate(self._config.gates):
            if isinstance(gate, str):
                made.append(BUILT_IN_GATES[gate]())
            elif isinstance(gate, RegexConfig):
                made.append(RegexGate(pattern=re.compile(gate.regex), name=gate.name or "regex"))
            else:
                function = self._import(gate.python, f"gates[{i}].python")
                if function is not None:
                    name = gate.name or gate.python.partition(":")[2]
                    made.append(CallableGate(function=function, name=name))
        return made

    def _make(
        self,
        name: str,
        options: Mapping[str, Any],
        part: str,
        methods: tuple[str, ...],
        key: str = "kind",
    ) -> Any:
        found = self._import(name, f"{part}.{key}")
        if found is None:
            return None
        try:
            made = found(**options)
        except Exception as exc:  # noqa: BLE001 - somebody else's constructor: say that it failed
            self._report(f"{part}.options", f"{name} cannot be made ({type(exc).__name__})")
            return None
        missing = [m for m in methods if not callable(getattr(made, m, None))]
        if missing:
            self._report(f"{part}.{key}", f"{name} has no method {', '.join(missing)}")
            return None
        return made

    def _import(self, name: str, key: str) -> Any:
        module, _, attribute = name.partition(":")
        try:
            found: Any = importlib.import_module(module)
            for part in attribute.split("."):
                found = getattr(found, part)
        except Exception as exc:  # noqa: BLE001 - importing runs somebody else's module
            why = str(exc) if isinstance(exc, ImportError | AttributeError) else ""
            told = ": ".join(part for part in (type(exc).__name__, why) if part)
            self._report(key, f"{name} cannot be imported ({told})", "package.module:name")
            return None
        if not callable(found):
            self._report(key, f"{name} cannot be called", "a function or a class")
            return None
        return found

    def _report(self, path: str, message: str, allowed: str | None = None) -> None:
        self._problems.append(Problem(path=path, message=message, allowed=allowed, file=self._file))


def _same_claim(request: Request | None, first: Answer, second: Answer) -> bool | None:
    """Compare what two answers claim, as the trained scorer and replay do."""
    from scorers.claims import find_claim, same_claim
    from scorers.features import read_prompt

    lettered = request is not None and bool(read_prompt(request.prompt).options)
    claims = [find_claim(answer.text or "", letters=lettered) for answer in (first, second)]
    said = same_claim(claims[0], claims[1])
    return None if math.isnan(said) else said >= 0.5


def _asking_scorer(
    config: LadderConfig, ladder: Ladder, clients: Mapping[str, Client]
) -> Scorer | None:
    """Return the scorer that asks a model, or None when the file names another."""
    from .config import JudgeScorer, PTrueScorer

    wanted = config.scorer
    if isinstance(wanted, PTrueScorer):
        from scorers.judged import SelfCheckScorer

        asked = [
            (clients[rung.provider], rung.model, partial(cost_usd, price=rung.price), rung.extra)
            for rung in ladder.rungs
        ]
        return SelfCheckScorer(asked)
    if not isinstance(wanted, JudgeScorer):
        return None
    from scorers.judged import JudgedScorer

    if wanted.price is not None:
        price: Price | None = Price(**dict(wanted.price))
    else:
        from .catalogue import catalogue_price

        provider = config.providers[wanted.provider]
        served_at = provider.kind if provider.kind == "recorded" else provider.base_url
        price = catalogue_price(wanted.model, served_at)
    return JudgedScorer(
        clients[wanted.provider],
        wanted.model,
        partial(cost_usd, price=price),
        prompt=wanted.prompt,
        max_tokens=wanted.max_tokens,
    )


def _clients(config: LadderConfig, http: Any) -> dict[str, Client]:
    """Return a client for every provider that a rung uses."""
    from .config import AnthropicProvider, JudgeScorer, RecordedProvider

    used = {rung.provider for rung in config.ladder}
    if isinstance(config.scorer, JudgeScorer):
        used.add(config.scorer.provider)
    clients: dict[str, Client] = {}
    for name, provider in config.providers.items():
        if name not in used:
            continue
        if isinstance(provider, RecordedProvider):
            from .clients.recorded import RecordedClient

            clients[name] = RecordedClient(name, provider.path)
            continue
        from .clients.http import Limits, as_transport

        shared: dict[str, Any] = {
            "headers": provider.headers,
            "transport": None if http is None else as_transport(http),
            "limits": Limits(
                max_connections=provider.max_connections,
                connect_timeout_s=provider.connect_timeout_s,
            ),
            "timeout_s": provider.timeout_s,
        }
        if isinstance(provider, AnthropicProvider):
            from .clients.anthropic import AnthropicClient

            shared["headers"] = {"anthropic-version": provider.version, **provider.headers}
            clients[name] = AnthropicClient(name, provider.base_url, provider.api_key, **shared)
        else:
            from .clients.openai import OpenAIClient

            shared["logprobs"] = provider.logprobs
            clients[name] = OpenAIClient(name, provider.base_url, provider.api_key, **shared)
    return clients


def _sink(config: LadderConfig) -> Any:
    from .sinks import JsonlSink

    log = config.log
    assert log is not None
    return JsonlSink(
        log.path,
        flush_s=log.flush_s,
        flush_records=log.flush_records,
        max_pending=log.max_pending,
        max_wait_s=log.max_wait_s,
        segment_mb=log.segment_mb,
        segment_age_s=log.segment_age_s,
    )
