"""Several processes that serve at one socket: starts them, replaces those that die, reloads and ends all.

uvicorn's own supervisor restarts its workers one by one at SIGHUP, each with whatever it finds in the
files then, and ends them without a bound on the time; here all take the same texts, once all have
found them good.

The workers inherit one socket. With one socket each (SO_REUSEPORT) the kernel would spread
connections by a hash, and those that wait at a worker which dies would be lost; here whoever has time
takes the next one.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import socket
import time
from collections import deque
from collections.abc import Iterator
from multiprocessing import connection
from pathlib import Path
from typing import Any

from ..config.document import read_file
from ..engine import CLOSING_S
from ..errors import ConfigError, LadderError
from .listening import listen, url_of
from .orders import Load, Loaded, Ready, Refuse, Take
from .settings import ServeSettings
from .shared_metrics import SharedMetrics
from .slots import LOADING_S, Reload, Slot
from .watching import POLL_S, FileWatch

__all__ = ["Supervisor"]

END_S = 5.0
"""Seconds beyond their own time that workers have to end, before they are killed."""

_log = logging.getLogger("cascade.server")


class Supervisor:
    """Runs `settings.workers` processes until SIGTERM or SIGINT. Of the main thread.

    Args:
        settings: What the server is told.
        metrics: Where the workers add up their metrics.
    """

    def __init__(self, settings: ServeSettings, metrics: SharedMetrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._files = tuple(dict.fromkeys(settings.files))
        keys = () if settings.keys is None else (settings.keys,)
        self._watch = FileWatch((*self._files, *keys))
        self._texts: dict[Path, bytes] = {}
        self._failures: dict[Path, tuple[str, ...]] = {}
        self._turn = 0
        self._reload: Reload | None = None
        self._wanted: deque[tuple[Path, ...]] = deque()
        self._signals: list[int] = []
        self._next_look = 0.0
        self._slots = [Slot(number) for number in range(1, settings.workers + 1)]

    def run(self) -> None:
        """Serve until a signal comes.

        Raises:
            ConfigError: A file has mistakes, or the address cannot be listened at.
        """
        for file in self._watched():
            self._texts[file] = read_file(file, shown=str(file))
        listener = listen(self._settings.host, self._settings.port)
        with listener, self._noting_signals() as woken:
            try:
                names = self._begin(listener, woken)
                if names is not None:
                    fields = {
                        "url": url_of(listener),
                        "ladders": list(names),
                        "workers": len(self._slots),
                    }
                    _log.info("listening", extra={"fields": fields})
                    self._keep_going(listener, woken)
            finally:
                listener.close()  # else who connects now would wait for the last to end
                self._end(woken)

    def _begin(self, listener: socket.socket, woken: socket.socket) -> tuple[str, ...] | None:
        """Start all workers; return the ladders' names once all serve, None at a signal before that."""
        for slot in self._slots:
            self._start(slot, listener)
        names: tuple[str, ...] = ()
        while not all(slot.ready for slot in self._slots):
            self._wait(woken, None)
            if self._is_told_to_end():
                return None
            for slot in self._slots:
                code = slot.process.exitcode
                for said in slot.said():
                    if isinstance(said, Ready):
                        names = said.ladders
                        slot.begun(said)
                    else:
                        lines = [line for told in said.failures.values() for line in told]
                        raise ConfigError("\n".join(lines))
                if code is not None:
                    raise ConfigError(f"worker {slot.number} ended with {code} before it served")
        return names

    def _keep_going(self, listener: socket.socket, woken: socket.socket) -> None:
        """Replace workers that die and reload what changes, until a signal to end comes."""
        while True:
            self._wait(woken, self._next_look - time.monotonic())
            while self._signals:
                if self._signals.pop(0) != signal.SIGHUP:
                    return
                self._watch.all_loaded()
                self._wanted.append(self._files)
                if self._settings.keys is not None:
                    self._wanted.append((self._settings.keys,))
            for slot in self._slots:
                for said in slot.said():
                    self._hear(slot, said)
                self._look_after(slot, listener)
            if time.monotonic() >= self._next_look:
                self._next_look = time.monotonic() + POLL_S
                self._wanted.extend((file,) for file in self._watch.changed())
            self._go_on_reloading()

    def _hear(self, slot: Slot, said: Any) -> None:
        if isinstance(said, Ready):
            slot.begun(said)
            if slot.turn != self._turn:  # others have been given something newer meanwhile
                slot.replace()
        elif isinstance(said, Loaded) and not slot.ready:
            for line in (line for told in said.failures.values() for line in told):
                fields = {"worker": slot.number, "problem": line}
                _log.error("worker cannot begin", extra={"fields": fields})
        elif isinstance(said, Loaded) and self._reload is not None:
            self._reload.hear(slot, said)

    def _look_after(self, slot: Slot, listener: socket.socket) -> None:
        """Replace a worker that has died, after a pause that grows while they die young."""
        if slot.process.exitcode is not None and slot.begins_at is None:
            for said in slot.said():
                self._hear(slot, said)
            code, pid, outdated = slot.process.exitcode, slot.process.pid, slot.outdated
            pause_s = slot.died()
            self._metrics.forget(pid)
            if self._reload is not None:
                self._reload.waiting.discard(slot.number)
            fields = {"worker": slot.number, "pid": pid, "code": code, "restart_in_s": pause_s}
            if not outdated:
                _log.error("worker died", extra={"fields": fields})
        if slot.begins_at is not None and time.monotonic() >= slot.begins_at:
            self._start(slot, listener)

    def _go_on_reloading(self) -> None:
        """Begin a reload, or end the one under way once all have said what they think of it."""
        reload = self._reload
        if reload is not None and (not reload.waiting or time.monotonic() >= reload.ends_at):
            self._reload = None
            self._decide(reload)
        while self._reload is None and self._wanted:
            self._begin_reload(self._wanted.popleft())

    def _begin_reload(self, files: tuple[Path, ...]) -> None:
        texts: dict[Path, bytes] = {}
        for file in files:
            try:
                texts[file] = read_file(file, shown=str(file))
            except LadderError as exc:
                self._refuse({file: tuple(map(str, exc.problems))})
                return
        serving = [slot for slot in self._slots if slot.ready]
        if not serving:  # those that begin will say whether it is good
            self._texts.update(texts)
            return
        self._turn += 1
        ladders = {file: text for file, text in texts.items() if file != self._settings.keys}
        keys = None if self._settings.keys is None else texts.get(self._settings.keys)
        self._reload = Reload(self._turn, texts, [slot.number for slot in serving])
        for slot in serving:
            slot.turn = self._turn
            slot.send(Load(turn=self._turn, ladders=ladders, keys=keys))

    def _decide(self, reload: Reload) -> None:
        """Have all take what all have found good, or none."""
        if reload.waiting:
            words = f"workers {sorted(reload.waiting)} have not loaded it within {LOADING_S:g} s"
            reload.failures.update(dict.fromkeys(reload.texts, (words,)))
        if reload.failures:
            self._refuse(reload.failures)
            return
        self._texts.update(reload.texts)
        for file in reload.texts:
            self._failures.pop(file, None)
        self._tell(Take(turn=reload.turn))
        if self._settings.keys in reload.texts:
            _log.info("keys loaded")
        else:
            fields = {"ladders": sorted(reload.names)}
            _log.info("reloaded", extra={"fields": fields})

    def _refuse(self, failures: dict[Path, tuple[str, ...]]) -> None:
        self._failures.update(failures)
        self._tell(Refuse(turn=self._turn, failures=failures))
        for line in (line for told in failures.values() for line in told):
            _log.error("reload failed", extra={"fields": {"problem": line}})

    def _tell(self, order: Take | Refuse) -> None:
        for slot in self._slots:
            if slot.ready:
                slot.send(order)

    def _start(self, slot: Slot, listener: socket.socket) -> None:
        keys = self._settings.keys
        first = Load(
            turn=self._turn,
            ladders={file: self._texts[file] for file in self._files},
            keys=None if keys is None else self._texts[keys],
            failures=dict(self._failures),
        )
        slot.start(self._settings, listener, first)

    def _end(self, woken: socket.socket) -> None:
        """Have all workers end, and kill those that do not."""
        alive = [slot for slot in self._slots if slot.is_alive]
        if alive:
            given = self._settings.grace_s
            grace_s = max(slot.grace_s for slot in alive) if given is None else given
            _log.info("closing", extra={"fields": {"grace_s": grace_s}})
            for slot in alive:
                slot.process.terminate()
            ends_at = time.monotonic() + grace_s + CLOSING_S + END_S
            self._signals.clear()
            # A second word to end means at once.
            while any(slot.is_alive for slot in alive) and not self._is_told_to_end():
                left_s = ends_at - time.monotonic()
                if left_s <= 0:
                    break
                self._wait(woken, left_s)
            for slot in alive:
                if slot.is_alive:
                    _log.error("worker killed", extra={"fields": {"worker": slot.number}})
                    slot.process.kill()
        for slot in self._slots:
            slot.close()

    def _wait(self, woken: socket.socket, seconds: float | None) -> None:
        """Wait until something happens, or so long."""
        begins = [slot.begins_at for slot in self._slots if slot.begins_at is not None]
        if begins:
            until_s = min(begins) - time.monotonic()
            seconds = until_s if seconds is None else min(seconds, until_s)
        sources = [source for slot in self._slots for source in slot.sources()]
        connection.wait([woken, *sources], None if seconds is None else max(0.0, seconds))
        with contextlib.suppress(BlockingIOError):
            woken.recv(1_000)

    def _is_told_to_end(self) -> bool:
        return signal.SIGTERM in self._signals or signal.SIGINT in self._signals

    def _watched(self) -> tuple[Path, ...]:
        keys = self._settings.keys
        return self._files if keys is None else (*self._files, keys)

    @contextlib.contextmanager
    def _noting_signals(self) -> Iterator[socket.socket]:
        """Note signals in `_signals`; yield a socket that can be read when one has come."""
        woken, wake = socket.socketpair()
        woken.setblocking(False)
        wake.setblocking(False)
        ours = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        before_fd = signal.set_wakeup_fd(wake.fileno())
        before = [
            signal.signal(one, lambda number, _: self._signals.append(number)) for one in ours
        ]
        try:
            yield woken
        finally:
            for one, handler in zip(ours, before, strict=True):
                signal.signal(one, handler)
            signal.set_wakeup_fd(before_fd)
            woken.close()
            wake.close()
