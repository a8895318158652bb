"""What a probe's log is about, in a file beside it: variants, kinds of task, how answers are scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from ..compress.clusters import TaskClusters
from ..errors import ConfigError, LogError

__all__ = ["ProbeAbout", "about_path", "journal_path", "read_about"]

KIND = "cascade probe"


class StageAbout(msgspec.Struct, frozen=True, kw_only=True):
    """A lossy stage as it was probed."""

    name: str
    version: str


class ProbeAbout(msgspec.Struct, frozen=True, kw_only=True):
    """What stands beside the log of a probe.

    Attributes:
        variants: Model that was asked → name of each variant → its lossy stages.
        clusters: The kinds of task, as `TaskClusters.to_json` writes them.
        seed: What the sample was drawn with.
        logs: Names of the logs it was drawn from.
        scored: How the answers are scored, in words.
        temperature: What they were asked with, or None for the provider's own.
        kind: ``cascade probe``.
        version: Of this form.
    """

    variants: dict[str, dict[str, list[StageAbout]]]
    clusters: str
    seed: int
    logs: list[str]
    scored: str
    temperature: float | None = None
    kind: str = KIND
    version: int = 1

    def task_clusters(self, where: Path) -> TaskClusters:
        """Return the kinds of task.

        Raises:
            ConfigError: They cannot be read.
        """
        return TaskClusters.from_json(self.clusters.encode(), str(where))

    def stages_problem(self, now: Mapping[str, Mapping[str, Sequence[StageAbout]]]) -> str | None:
        """Return why a probe of these variants, by model and name, cannot go on in this one, or None."""
        for model, variants in now.items():
            before = self.variants.get(model, {})
            for name, stages in variants.items():
                if name in before and before[name] != list(stages):
                    return f"the stages of {name} for {model} have changed since"
        return None

    def joined(self, now: ProbeAbout) -> ProbeAbout:
        """Return what both are about, where `now` goes on in the log of this one."""
        models = dict.fromkeys((*self.variants, *now.variants))
        return msgspec.structs.replace(
            now,
            variants={
                model: self.variants.get(model, {}) | now.variants.get(model, {})
                for model in models
            },
            logs=list(dict.fromkeys((*self.logs, *now.logs))),
        )


def about_path(output: Path) -> Path:
    """Return the file beside a probe's log.

    >>> str(about_path(Path("a/probe.jsonl.gz")))
    'a/probe.probe.json'
    """
    return output.with_name(_stem(output) + ".probe.json")


def journal_path(output: Path) -> Path:
    """Return the file that holds what was bought; its name is none of a log's, so no tool reads it."""
    return output.with_name(_stem(output) + ".bought")


def read_about(output: Path) -> ProbeAbout:
    """Return what a probe's log is about.

    Raises:
        LogError: There is no file beside it, or it is something else.
    """
    path = about_path(output)
    try:
        about = msgspec.json.decode(path.read_bytes(), type=ProbeAbout)
    except OSError as exc:
        raise LogError(
            f"{output}: no log of `cascade probe`: {path.name} is not beside it"
        ) from exc
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise LogError(f"{path}: not what `cascade probe` writes ({type(exc).__name__})") from exc
    if about.kind != KIND or about.version != 1:
        raise LogError(f"{path}: {about.kind!r:.40}; allowed: {KIND} of version 1")
    try:
        about.task_clusters(path)
    except ConfigError as exc:
        raise LogError(str(exc)) from exc
    return about


def _stem(output: Path) -> str:
    return output.name.removesuffix(".gz").removesuffix(".jsonl")
