"""Makes the prompt compression that a ladder file describes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

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
    for setting in _settings(config):
        from .compress import CachedPrefix, Pipeline

        settings = setting.config
        stages, gate = _stages(setting)
        pipeline = Pipeline(stages, counter, gate=gate)
        for i in setting.rungs:
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
    for setting in _settings(config):
        stages, gate = _stages(setting)
        said += [
            f"{setting.place}: {stage.name} is off: no evidence that it does no harm; `cascade tune --compress` "
            "looks for it, or set `even_without_evidence: true`"
            for stage in stages
            if not gate.lets(stage)
        ]
    return said


class _Setting(NamedTuple):
    """What is set in one place: the settings, the rungs they hold for, and where they and their stages stand."""

    config: CompressConfig
    rungs: list[int]
    place: str
    stages_at: str


def _settings(config: LadderConfig) -> list[_Setting]:
    """Return each setting with stages."""
    own = {i: rung.compress for i, rung in enumerate(config.ladder) if rung.compress is not None}
    wanted: list[tuple[Any, list[int], str]] = [
        (config.compress, [i for i in range(len(config.ladder)) if i not in own], "compress")
    ]
    wanted += [(setting, [i], f"ladder[{i}].compress") for i, setting in own.items()]
    from .config import CompressConfig

    found: list[_Setting] = []
    for given, rungs, place in wanted:
        if not given or not rungs:
            continue
        if isinstance(given, CompressConfig):
            found.append(_Setting(given, rungs, place, f"{place}.stages"))
        else:
            found.append(_Setting(CompressConfig(stages=given), rungs, place, place))
    return [setting for setting in found if setting.config.stages]


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
    for setting in _settings(config):
        settings = setting.config
        stages, _ = _made(setting)
        for i in setting.rungs:
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


def _stages(setting: _Setting) -> tuple[list[Stage], EvidenceGate]:
    """Return the stages of a setting, and what lets the lossy ones run."""
    from .compress import EvidenceGate, read_evidence

    stages, forced = _made(setting)
    file = setting.config.evidence
    evidence = None if file is None else read_evidence(file)
    return stages, EvidenceGate(evidence, forced)


def _made(setting: _Setting) -> tuple[list[Stage], set[str]]:
    """Return the stages of a setting, and the names of those that run without evidence."""
    stages: list[Stage] = []
    forced: set[str] = set()
    for i, entry in enumerate(setting.config.stages):
        name = entry if isinstance(entry, str) else next(iter(type(entry).model_fields))
        options = {} if isinstance(entry, str) else dict(getattr(entry, name))
        even = options.pop("even_without_evidence", False)
        if name == "extract":  # the only one that may refuse a prompt, and says where that is set
            options["place"] = f"{setting.stages_at}[{i}].extract"
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

    return Extract(**options)


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
