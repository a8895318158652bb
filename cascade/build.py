"""The composition root: makes an engine out of a ladder file. The only reader of the environment."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .build_cache import cache_settings, keeping
from .build_checks import check_near, check_recorded
from .build_clients import hedge, provider_clients, shared_state
from .build_compress import compression, lossy_without_evidence
from .build_parts import PythonParts
from .build_spending import check_prices, spending, tenant_limits
from .build_telemetry import metrics, tracer
from .errors import ConfigError
from .ports import Client, Scorer
from .pricing import Price, cost_usd
from .tokens import TokenCounter, offline_encoder

if TYPE_CHECKING:
    from .cached import Keeping
    from .config import LadderConfig
    from .config.load import LadderReading
    from .engine import Cascade
    from .ladder import Ladder
    from .stream_rules import StreamRule

__all__ = [
    "cache_folder",
    "cache_parts",
    "check_file",
    "default_config_path",
    "engine_from_yaml",
    "ladder_settings",
    "token_counter",
]

CONFIG_VARIABLE = "CASCADE_CONFIG"
DEFAULT_CONFIG = "cascade.yaml"


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
        f"no ladder to ask: {where}; write one (docs/configuration.md) or name one: "
        "`Cascade.from_yaml(FILE)`, or `-c FILE` on the command line"
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
        **overrides: Keywords of its constructor that replace what the file says, ``http``: an
            `httpx.AsyncClient` or transport that every provider uses, ``share_ledger``: see
            `build_spending.spending`, and ``text``: what the file held when it was read.

    Raises:
        LadderError: The file has mistakes; all of them are in `.problems`.
        ConfigError: An override has an unknown name.
    """
    reading = _read(path, text=overrides.pop("text", None))
    parts = PythonParts(reading)
    options: dict[str, Any] = {
        "scorer": parts.scorer(),
        "policy": parts.policy(),
        "gates": parts.gates(),
        "prefix_scorer": parts.prefix_scorer(),
    }
    private = parts.private()
    config = reading.config()
    ladder = _ladder(config)
    shared = shared_state(config, overrides.get("clock"))
    clients = provider_clients(config, overrides.pop("http", None), overrides.get("clock"), shared)
    options |= {
        "clients": clients,
        "scorer": options["scorer"] or _asking_scorer(config, ladder, clients),
        "on_all_rejected": config.on_all_rejected,
        "keep": config.keep,
        "cache": cache_settings(config, private, overrides.get("clock")),
        "deadline_s": config.deadline_s,
        "grace_s": config.grace_s,
        "hedge": hedge(config.hedge),
        "spending": spending(
            config, ladder, overrides.get("clock"), overrides.pop("share_ledger", None)
        ),
        "tenant_limits": tenant_limits(config),
        "shared": shared,
        "compress": compression(config, ladder, token_counter(), overrides.get("clock")),
        "stream_rules": stream_rules(config, ladder),
        "per_call": config.ask_many.per_call,
        "tracer": tracer(config),
    }
    counted = metrics(config)
    if counted is not None:
        options["observers"] = [*overrides.pop("observers", ()), counted]
    if config.log is not None:
        options |= {"sink": _sink(config), "log_text": config.log.text}
    try:
        engine = kind(ladder, **(options | overrides))
    except TypeError as exc:
        raise ConfigError(f"from_yaml: {exc}") from exc
    if counted is not None:
        counted.watch(engine)
    return engine


def ladder_settings(path: str | Path, text: bytes | None = None) -> LadderConfig:
    """Return what a ladder file says, for what needs its providers and rungs but asks no ladder.

    Scorer and policy are not made, and what `cascade train` and `cascade tune` write for them may
    be missing yet.

    Args:
        path: The ladder file.
        text: What it held when it was read; None: it is read now.

    Raises:
        LadderError: The file has mistakes; all of them are in `.problems`.
    """
    return _read(path, untrained=True, text=text).config()


def cache_parts(path: str | Path) -> tuple[LadderConfig, Ladder, Keeping]:
    """Return what a ladder file says, its ladder, and which answers its cache keeps.

    Raises:
        LadderError: The file has mistakes; all of them are in `.problems`.
        ConfigError: It has no cache.
    """
    reading = _read(path, untrained=True)
    private = PythonParts(reading).private()
    config = reading.config()
    if config.cache is None:
        raise ConfigError(f"{path}: no `cache`; docs/cache.md says how to set one")
    return config, _ladder(config), keeping(config, private)


def token_counter() -> TokenCounter:
    """Return a counter that finds vocabularies where tiktoken keeps them, and never fetches one."""
    environment: Mapping[str, str] = os.environ  # noqa: TID251 - the composition root
    named = ("TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR")
    usual = str(Path(tempfile.gettempdir()) / "data-gym-cache")
    folder = next((environment[name] for name in named if name in environment), usual)
    return TokenCounter(partial(offline_encoder, folder=Path(folder) if folder else None))


def check_file(
    path: str | Path,
    *,
    allow_unset: bool = False,
    on_note: Callable[[str], None] | None = None,
) -> list[str]:
    """Check everything about a ladder file that can be checked without a call.

    Of the log behind a recorded provider the first `build_checks.CHECKED_LOG_MB` megabytes are read.

    Args:
        path: The ladder file.
        allow_unset: Take environment variables that are not set for given.
        on_note: Told what could not be checked.

    Returns:
        Each rung in words, in order.

    Raises:
        LadderError: The file has mistakes; all of them are in `.problems`.
    """
    reading = _read(path, allow_unset=allow_unset)
    parts = PythonParts(reading)
    parts.scorer()
    parts.policy()
    parts.gates()
    parts.private()
    check_near(reading)
    check_recorded(reading, on_note or (lambda note: None))
    config = reading.config()
    ladder = _ladder(config)
    check_prices(config, ladder)
    for note in (*parts.notes, *lossy_without_evidence(config)):
        if on_note is not None:
            on_note(note)
    return [
        rung.model
        + ("" if rung.accept is None else f" (accept ≥ {rung.accept:g})")
        + ("" if rung.price is not None else " (price unknown)")
        for rung in ladder.rungs
    ]


def _read(
    path: str | Path,
    *,
    allow_unset: bool = False,
    untrained: bool = False,
    text: bytes | None = None,
) -> LadderReading:
    from .config.load import read_ladder_file

    environment: Mapping[str, str] = os.environ  # noqa: TID251 - the composition root
    return read_ladder_file(
        path, environment, allow_unset=allow_unset, untrained=untrained, text=text
    )


def _ladder(config: LadderConfig) -> Ladder:
    from .catalogue import catalogue_price

    return config.to_ladder(catalogue_price)


def stream_rules(config: LadderConfig, ladder: Ladder) -> tuple[StreamRule, ...]:
    """Return how streams handle the drafts of each rung."""
    from .config.streams import stream_rule

    return tuple(
        stream_rule(said.stream, config.stream, rung.accept)
        for said, rung in zip(config.ladder, ladder.rungs, strict=True)
    )


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

        price = catalogue_price(wanted.model, config.served_at(wanted.provider))
    return JudgedScorer(
        clients[wanted.provider],
        wanted.model,
        partial(cost_usd, price=price),
        prompt=wanted.prompt,
        max_tokens=wanted.max_tokens,
    )


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
