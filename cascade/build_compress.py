"""Makes the prompt compression that a ladder file describes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from .clock import SystemClock
from .compressing import RungCompression
from .errors import ConfigError
from .ladder import Ladder
from .ports import Clock
from .tokens import TokenCounter

if TYPE_CHECKING:
    from .compress import EvidenceGate, Stage
    from .config import CompressConfig, LadderConfig

__all__ = ["compression", "lossy_without_evidence", "probed_stages"]


def compression(
    config: LadderConfig, ladder: Ladder, counter: TokenCounter, clock: Clock | None = None
) -> dict[int, RungCompression]:
    """Return how prompts are made shorter, by index of the rung; empty when nothing is set.

    Raises:
        ConfigError: A file that a stage names cannot be read, or a plug-in cannot be made.
    """
    found: dict[int, RungCompression] = {}
    for settings, rungs, _ in _settings(config):
        from .compress import CachedPrefix, Pipeline

        stages, gate = _stages(settings)
        pipeline = Pipeline(stages, counter, gate=gate)
        for i in rungs:
            rung = ladder.rungs[i]
            weighed = None
            if settings.prompt_cache:
                now = (clock or SystemClock()).monotonic
                weighed = CachedPrefix(rung.model, rung.price, counter, now)
            found[i] = RungCompression(
                compressor=pipeline,
                price=rung.price,
                min_saving_usd=settings.min_saving_usd,
                escalated=settings.escalate == "compressed",
                prompt_cache=weighed,
                learn=counter.learn,
                correction=counter.correction,
            )
    return found


def lossy_without_evidence(config: LadderConfig) -> list[str]:
    """Return a sentence for every lossy stage that will not run, as nothing shows that it does no harm.

    Raises:
        ConfigError: As for `compression`.
    """
    said: list[str] = []
    for settings, _, place in _settings(config):
        stages, gate = _stages(settings)
        said += [
            f"{place}: {stage.name} is off: no evidence that it does no harm; `cascade tune --compress` "
            "looks for it, or set `even_without_evidence: true`"
            for stage in stages
            if not gate.lets(stage)
        ]
    return said


def _settings(config: LadderConfig) -> list[tuple[CompressConfig, list[int], str]]:
    """Return (settings, the rungs they hold for, where they stand) of each setting with stages."""
    own = {i: rung.compress for i, rung in enumerate(config.ladder) if rung.compress is not None}
    wanted: list[tuple[Any, list[int], str]] = [
        (config.compress, [i for i in range(len(config.ladder)) if i not in own], "compress")
    ]
    wanted += [(setting, [i], f"ladder[{i}].compress") for i, setting in own.items()]
    found = ((_as_mapping(setting), rungs, place) for setting, rungs, place in wanted if setting)
    return [(setting, rungs, place) for setting, rungs, place in found if setting.stages and rungs]


def _as_mapping(setting: Any) -> CompressConfig:
    from .config import CompressConfig

    return setting if isinstance(setting, CompressConfig) else CompressConfig(stages=setting)


def probed_stages(
    config: LadderConfig, ladder: Ladder
) -> dict[int, tuple[list[Stage], RungCompression]]:
    """Return the stages in front of each rung that has some, and its compression with all of them on.

    For `cascade probe`: evidence is what it is about to look for, so none is read.

    Raises:
        ConfigError: A file that a stage names cannot be read, or a plug-in cannot be made.
    """
    from .compress import Pipeline

    found = {}
    for settings, rungs, _ in _settings(config):
        stages, _ = _made(settings)
        for i in rungs:
            found[i] = (
                stages,
                RungCompression(
                    compressor=Pipeline(stages),
                    price=ladder.rungs[i].price,
                    min_saving_usd=settings.min_saving_usd,
                    escalated=settings.escalate == "compressed",
                ),
            )
    return found


def _stages(settings: CompressConfig) -> tuple[list[Stage], EvidenceGate]:
    """Return the stages of a setting, and what lets the lossy ones run."""
    from .compress import EvidenceGate, read_evidence

    stages, forced = _made(settings)
    evidence = None if settings.evidence is None else read_evidence(settings.evidence)
    return stages, EvidenceGate(evidence, forced)


def _made(settings: CompressConfig) -> tuple[list[Stage], set[str]]:
    """Return the stages of a setting, and the names of those that run without evidence."""
    stages: list[Stage] = []
    forced: set[str] = set()
    for entry in settings.stages:
        name = entry if isinstance(entry, str) else next(iter(type(entry).model_fields))
        options = {} if isinstance(entry, str) else dict(getattr(entry, name))
        even = options.pop("even_without_evidence", False)
        stage = _MAKERS[name](options)
        stages.append(stage)
        if even:
            forced.add(stage.name)
    return stages, forced


def _minify(options: dict[str, Any]) -> Stage:
    from .compress import Minify

    return Minify(json=options.get("json_padding", True), tables=options.get("table_padding", True))


def _dedupe(options: dict[str, Any]) -> Stage:
    from .compress import Dedupe

    return Dedupe(**options)


def _boilerplate(options: dict[str, Any]) -> Stage:
    from .compress import Boilerplate, read_learned

    return Boilerplate(read_learned(options["path"]))


def _extract(options: dict[str, Any]) -> Stage:
    from .compress import Extract

    return Extract(options["budget"], when_over=options["when_over"])


def _examples(options: dict[str, Any]) -> Stage:
    from .compress import Examples, read_learned

    learned = None
    if options.get("by") == "learned":
        if options.get("path") is None:
            raise ConfigError("compress: examples: `by: learned` needs a `path`")
        learned = read_learned(options["path"])
    keep = {"keep": options["keep"]} if "keep" in options else {}
    return Examples(learned=learned, whole=options.get("whole", False), **keep)


def _history(options: dict[str, Any]) -> Stage:
    from .compress import History

    return History(**options)


def _plugin(options: dict[str, Any]) -> Stage:
    from .compress import load_plugin

    return load_plugin(options["name"], options["options"])


_MAKERS: Mapping[str, Callable[[dict[str, Any]], Stage]] = {
    "minify": _minify,
    "dedupe": _dedupe,
    "boilerplate": _boilerplate,
    "extract": _extract,
    "examples": _examples,
    "history": _history,
    "plugin": _plugin,
}
