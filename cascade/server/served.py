"""The ladders that are served: found by name, reloaded as a whole, closed when nobody asks them any more."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio
import anyio.to_thread

from ..clock import SystemClock
from ..engine import Cascade
from ..errors import CascadeError, ConfigError, LadderError
from ..labels import Label, LabelFile
from ..ports import Clock
from .shared_ledgers import SharedLedgers
from .sharing import refuse_unshared
from .single import SingleRung

if TYPE_CHECKING:
    from ..config import LadderConfig

__all__ = ["ANY_LADDER", "CannotLoad", "Found", "Ladders", "Made", "Served"]

ANY_LADDER = "default"
"""Name of the first ladder, beside its own."""

PREFIX = "cascade/"
"""What the name of a ladder as a model begins with."""

_log = logging.getLogger("cascade.server")


class Served:
    """One ladder that is open.

    Attributes:
        engine: Answers.
        config: What its file says.
        file: That file.
        native: Whether all of its providers speak Anthropic's language.
        counts: Whether it has metrics.
        created: When it was loaded, seconds since 1970.
        top_logprobs: Alternatives a token that every rung is asked for.
        in_flight: Requests that use it.
        single: By model: the policy that asks that rung alone.
    """

    def __init__(self, engine: Cascade, config: LadderConfig, file: Path, created: int) -> None:
        self.engine = engine
        self.config = config
        self.file = file
        self.native = all(_kind(config, rung.provider) == "anthropic" for rung in config.ladder)
        self.counts = config.telemetry is not None and config.telemetry.prometheus is not None
        self.created = created
        self.top_logprobs = min(rung.top_logprobs for rung in config.ladder)
        self.in_flight = 0
        self.single: dict[str, SingleRung] = {}
        for i, rung in enumerate(engine.ladder.rungs):
            policy = SingleRung(rung=i, version=f"single-rung/1 {rung.model}")
            self.single.setdefault(rung.model, policy)
        self._labels: LabelFile | None = None
        self._one = anyio.CapacityLimiter(1)

    @property
    def name(self) -> str:
        """Name of the ladder."""
        return self.engine.ladder.name

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep the ladder open, a reload notwithstanding."""
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1

    async def label(self, label: Label) -> None:
        """Write a label beside the ladder's log.

        Raises:
            LogError: It has no log, or the label cannot be written.
        """
        log = self.config.log
        assert log is not None
        if self._labels is None:
            self._labels = LabelFile(Path(log.path))
        await anyio.to_thread.run_sync(self._labels.write, label, limiter=self._one)

    async def aclose(self, grace_s: float) -> None:
        """Close the engine and the file of labels."""
        await self.engine.aclose(grace_s=grace_s)
        if self._labels is not None:
            await anyio.to_thread.run_sync(self._labels.close, limiter=self._one)


class Found(NamedTuple):
    """Whom a request is for: a ladder, or one rung of it."""

    served: Served
    single: SingleRung | None


Made = Mapping[Path, Served]
"""Ladders that have been loaded and opened, and are not served yet."""


class Ladders:
    """All ladders of a server.

    Args:
        files: Ladder files; the first is the default.
        overrides: Keywords for `Cascade.from_yaml`.
        clock: Time source.
        workers: Processes that serve these files; with more than one, what each would count for
            itself is refused.

    Attributes:
        failures: By file: why its newest state could not be loaded, a line each. What was loaded
            before is served on.
        closing: Whether no ladder takes asks any more.
    """

    def __init__(
        self,
        files: Sequence[Path],
        *,
        overrides: dict[str, Any] | None = None,
        clock: Clock | None = None,
        workers: int = 1,
    ) -> None:
        self.files = tuple(dict.fromkeys(files))
        self.failures: dict[Path, tuple[str, ...]] = {}
        self.closing = False
        self._overrides = overrides or {}
        self._clock = clock or SystemClock()
        self._workers = workers
        self._by_file: dict[Path, Served] = {}
        self._by_name: dict[str, Served] = {}
        self._retired: set[Served] = set()
        self._ledgers = SharedLedgers()
        self._one = anyio.Lock()

    async def open(self, texts: Mapping[Path, bytes] | None = None) -> None:
        """Load all files.

        Args:
            texts: What they held when they were read; None: they are read now.

        Raises:
            ConfigError: One has mistakes, or two ladders have one name.
        """
        self.take(await self.make(self.files, texts))

    async def reload(self, files: Sequence[Path] | None = None) -> bool:
        """Load files anew and serve what they say from now on: all of them, or nothing changes.

        Asks in flight finish on what they began with.

        Returns:
            Whether it is served; if not, `failures` says why.
        """
        async with self._one:
            wanted = self.files if files is None else files
            try:
                made = await self.make(wanted)
            except CannotLoad as exc:
                self.refuse({exc.file: exc.told})
                for line in exc.told:
                    _log.error("reload failed", extra={"fields": {"problem": line}})
                return False
            self.take(made)
        names = sorted(served.name for served in made.values())
        _log.info("reloaded", extra={"fields": {"ladders": names}})
        return True

    async def make(
        self, files: Sequence[Path], texts: Mapping[Path, bytes] | None = None
    ) -> dict[Path, Served]:
        """Return the opened ladders of files; all of them, or none is left open.

        Args:
            files: Which.
            texts: What they held when they were read; None: they are read now.

        Raises:
            CannotLoad: One has mistakes, or two ladders have one name.
        """
        made: dict[Path, Served] = {}
        try:
            for file in files:
                made[file] = await self._load_one(file, (texts or {}).get(file))
            self._check_names(made)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self.drop(made)
            raise
        return made

    def take(self, made: Made) -> None:
        """Serve these from now on. Nothing awaits: no request sees half of it."""
        self._retired.update(self._by_file[file] for file in made if file in self._by_file)
        self._by_file.update(made)
        self._by_name = {served.name: served for served in self._by_file.values()}
        for file in made:
            self.failures.pop(file, None)

    async def drop(self, made: Made) -> None:
        """Close what was made and is not to be served."""
        for served in made.values():
            await served.aclose(0.0)

    def refuse(self, failures: Mapping[Path, tuple[str, ...]]) -> None:
        """Note why files are not served as they stand now."""
        self.failures.update(failures)

    async def close_retired(self) -> None:
        """Close the ladders that were replaced and that nobody uses any more."""
        for old in [served for served in self._retired if not served.in_flight]:
            self._retired.discard(old)
            await old.aclose(0.0)

    async def aclose(self, grace_s: float | None = None) -> None:
        """Take no asks any more, let those in flight finish, and close everything.

        Args:
            grace_s: Seconds they have for it; None: as each ladder file says.
        """
        self.closing = True
        async with anyio.create_task_group() as tasks:
            for served in (*self._retired, *self._by_file.values()):
                wait_s = served.config.grace_s if grace_s is None else grace_s
                tasks.start_soon(served.aclose, wait_s)
        self._retired.clear()

    def longest_grace_s(self) -> float:
        """Return the most seconds that any ladder file gives asks in flight."""
        return max((served.config.grace_s for served in self._by_file.values()), default=0.0)

    def all(self) -> tuple[Served, ...]:
        """Return the ladders in the order of their files."""
        return tuple(self._by_file[file] for file in self.files if file in self._by_file)

    def find(self, model: str, allowed: Sequence[str], *, rungs: bool) -> Found | None:
        """Return what a model's name stands for, or None.

        Args:
            model: ``cascade/<ladder>``, ``cascade/default``, or the model of a rung.
            allowed: Names of the ladders that may be asked; empty: all.
            rungs: Whether single rungs may be.
        """
        if model.startswith(PREFIX):
            name = model[len(PREFIX) :]
            served = self._by_name.get(name)
            if served is None and name == ANY_LADDER:
                served = self._by_file.get(self.files[0])
            if served is not None and (not allowed or served.name in allowed):
                return Found(served, None)
        if rungs:
            for served in self.all():
                if model in served.single and (not allowed or served.name in allowed):
                    return Found(served, served.single[model])
        return None

    async def _load_one(self, file: Path, text: bytes | None) -> Served:
        try:
            engine, config = await anyio.to_thread.run_sync(self._make, file, text)
            await engine.__aenter__()
        except LadderError as exc:
            raise CannotLoad(file, tuple(map(str, exc.problems))) from exc
        except CascadeError as exc:
            raise CannotLoad(file, (f"{file}: {exc}",)) from exc
        except Exception as exc:  # what a ladder names in Python may raise anything
            raise CannotLoad(file, (f"{file}: {type(exc).__name__}",)) from exc
        created = int(datetime.fromisoformat(self._clock.now_iso()).timestamp())
        return Served(engine, config, file, created)

    def _make(self, file: Path, text: bytes | None) -> tuple[Cascade, LadderConfig]:
        from ..build import ladder_settings

        config = ladder_settings(file, text)
        if self._workers > 1:
            refuse_unshared(config, self._workers, str(file))
        shared = self._ledgers.of(str(file.absolute()))
        engine = Cascade.from_yaml(file, share_ledger=shared, text=text, **self._overrides)
        return engine, config

    def _check_names(self, made: dict[Path, Served]) -> None:
        present = {s.name: file for file, s in self._by_file.items() if file not in made}
        for file, served in made.items():
            other = present.setdefault(served.name, file)
            if other != file:
                told = f"{file}: name: {served.name!r} is that of {other} too; give another"
                raise CannotLoad(file, (told,))


class CannotLoad(ConfigError):
    """A file cannot be served; `told` says why, a line each."""

    def __init__(self, file: Path, told: tuple[str, ...]) -> None:
        super().__init__("\n".join(told))
        self.file = file
        self.told = told


def _kind(config: LadderConfig, provider: str) -> str:
    """Return what a provider speaks; of a pool what all of its members do."""
    found = config.providers[provider]
    if found.kind != "pool":
        return found.kind
    members = {member if isinstance(member, str) else member.provider for member in found.of}
    kinds = {_kind(config, member) for member in members}
    return kinds.pop() if len(kinds) == 1 else "mixed"
