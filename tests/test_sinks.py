"""The decision log on disk: nothing taken is lost, nothing blocks for long, nothing is torn."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from cascade.errors import LogError
from cascade.log_reader import LogReader
from cascade.sinks import JsonlSink
from cascade.testing import FakeClock


def record(i: int, **more: Any) -> dict[str, Any]:
    return {"schema": 1, "kind": "decision", "id": f"{i:04d}"} | more


def ids(folder: Path) -> list[str]:
    return [r["id"] for r in LogReader(path=folder)]


@pytest.mark.anyio
async def test_everything_taken_is_on_disk_after_closing(tmp_path: Path) -> None:
    """Closing writes what waits, in order."""
    sink = JsonlSink(tmp_path / "new" / "logs", flush_s=60)
    sink.start()
    for i in range(1000):
        await sink.write(record(i))
    sink.close()
    sink.close()
    assert ids(sink.folder) == [f"{i:04d}" for i in range(1000)]
    assert sink.statistics().written == 1000


def test_a_batch_is_written_without_waiting_for_the_timer(tmp_path: Path) -> None:
    """`flush_records` records wake the writer."""
    sink = JsonlSink(tmp_path, flush_s=60, flush_records=10)
    sink.start()
    for i in range(10):
        sink.write_nowait(record(i))
    give_up = time.monotonic() + 30
    while sink.statistics().written < 10 and time.monotonic() < give_up:
        time.sleep(0.01)
    assert sink.statistics().written == 10
    sink.close()


class Held(Mapping[str, str]):
    """Holds up whoever writes it out until it is let go."""

    def __init__(self) -> None:
        self.let_go = threading.Event()

    def __iter__(self) -> Iterator[str]:
        self.let_go.wait(60)
        return iter(())

    def __len__(self) -> int:
        return 0

    def __getitem__(self, key: str) -> str:
        raise KeyError(key)


@pytest.mark.anyio
async def test_a_full_queue_delays_an_ask_no_longer_than_stated(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Then the record is dropped, counted, said, and noted in the log itself."""
    clock, held = FakeClock(), Held()
    sink = JsonlSink(
        tmp_path, flush_s=60, flush_records=1, max_pending=2, max_wait_s=0.1, clock=clock
    )
    sink.start()
    await sink.write(record(0) | {"metadata": held})
    for i in (1, 2):
        await sink.write(record(i))
    assert clock.seconds == pytest.approx(0.1, abs=0.01)
    assert sink.statistics().dropped == 1
    assert "1 records dropped" in caplog.text
    held.let_go.set()
    sink.close()
    reader = LogReader(path=tmp_path)
    assert [r["id"] for r in reader] == ["0000", "0001"]
    assert reader.dropped == 1


def test_segments_rotate_by_size_and_by_age(tmp_path: Path) -> None:
    """Each is complete, and together they hold everything in order."""
    clock = FakeClock()
    sink = JsonlSink(
        tmp_path,
        flush_s=0.01,
        flush_records=1,
        segment_mb=0.0001,
        segment_age_s=100,
        clock=clock,
    )
    sink.start()
    for i in range(30):
        if i == 15:
            clock.seconds += 1000
        sink.write_nowait(record(i, filler="x" * 20))
        _settle(sink)
    sink.close()
    assert len(LogReader(path=tmp_path).segments()) > 5
    assert ids(tmp_path) == [f"{i:04d}" for i in range(30)]


def _settle(sink: JsonlSink) -> None:
    give_up = time.monotonic() + 30
    while sink.statistics().pending and time.monotonic() < give_up:
        time.sleep(0.002)
    assert sink.statistics().pending == 0


def test_a_path_that_cannot_be_written_is_refused_at_the_start(tmp_path: Path) -> None:
    """Before the first ask, naming the path."""
    (tmp_path / "file").write_text("")
    with pytest.raises(LogError, match=r"log.path: .*file.* cannot be written"):
        JsonlSink(tmp_path / "file" / "logs").start()


def test_a_full_disk_loses_nothing_once_there_is_room_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A write that fails half way is cut back and tried again; the program is told."""
    real, full = os.write, threading.Event()
    full.set()

    def write(file: int, data: Any) -> int:
        if not full.is_set():
            return real(file, data)
        if len(data) > 40:
            return real(file, bytes(data)[:40])
        raise OSError(errno.ENOSPC, "No space left on device")

    sink = JsonlSink(tmp_path, flush_s=0.01)
    sink.start()
    monkeypatch.setattr(os, "write", write)
    for i in range(20):
        sink.write_nowait(record(i))
    give_up = time.monotonic() + 30
    while sink.statistics().failures < 2 and time.monotonic() < give_up:
        time.sleep(0.005)
    full.clear()
    _settle(sink)
    sink.close()
    reader = LogReader(path=tmp_path)
    assert [r["id"] for r in reader] == [f"{i:04d}" for i in range(20)]
    assert reader.torn == 0
    assert "No space left" in caplog.text


class Angry(dict[str, Any]):
    """A mapping that will not be read."""

    def items(self) -> Any:
        raise RuntimeError("no")


LOOP: dict[str, Any] = {}
LOOP["self"] = LOOP


@pytest.mark.parametrize(
    "part",
    [
        {"metadata": LOOP},
        {"metadata": Angry(a=1)},
        {"tenant": "\ud800"},
        {"attempts": [{"rung": 0, "reason": "\ud800"}]},
        {"attempts": [{"rung": 0, "tool_calls": [{"x": "\ud800"}]}]},
        {"model": "\ud800"},
    ],
)
def test_what_json_cannot_carry_costs_only_itself(tmp_path: Path, part: dict[str, Any]) -> None:
    """The record is written without it, and says so; the records after it are not lost."""
    sink = JsonlSink(tmp_path, flush_records=1)
    sink.start()
    sink.write_nowait(record(1, **part))
    _settle(sink)
    sink.write_nowait(record(2))
    sink.close()
    assert ids(tmp_path) == ["0001", "0002"]
    assert sink.statistics().dropped == 0


def test_a_small_queue_wakes_the_writer_before_it_is_full(tmp_path: Path) -> None:
    """`max_pending` below `flush_records` does not mean waiting for the timer."""
    sink = JsonlSink(tmp_path, flush_s=60, flush_records=256, max_pending=50)
    sink.start()
    give_up = time.monotonic() + 30
    for written in range(25, 201, 25):  # half of what it can hold
        for i in range(written - 25, written):
            sink.write_nowait(record(i))
        while sink.statistics().written < written and time.monotonic() < give_up:
            time.sleep(0.005)
    sink.close()
    assert len(ids(tmp_path)) == 200
    assert time.monotonic() < give_up


def test_a_log_to_which_nothing_was_written_leaves_no_file(tmp_path: Path) -> None:
    """An engine that was never asked leaves an empty folder."""
    sink = JsonlSink(tmp_path)
    sink.start()
    sink.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.anyio
async def test_a_record_lost_to_a_cancellation_is_counted(tmp_path: Path) -> None:
    """Waiting for room and cancelled: dropped, and said."""
    sink = JsonlSink(tmp_path, flush_s=60, max_pending=1, max_wait_s=60)
    sink.start()
    sink._wake_at = 10**9  # the writer sleeps on
    await sink.write(record(1))
    with anyio.move_on_after(0.05):
        await sink.write(record(2))
    taken = sink.statistics()
    assert taken.taken + taken.dropped == 2
    sink.close()


CRASH = """
import sys, time
from cascade.sinks import JsonlSink
sink = JsonlSink(sys.argv[1], flush_s=0.05)
sink.start()
i = 0
while True:
    sink.write_nowait({"schema": 1, "kind": "decision", "id": f"{i:06d}", "filler": "x" * 500})
    i += 1
    if i % 100 == 0:
        print(i - sink.statistics().pending, flush=True)
        time.sleep(0.001)
"""


def test_a_killed_process_loses_at_most_the_unflushed_batch(tmp_path: Path) -> None:
    """What had been flushed before SIGKILL is there, complete and readable."""
    child = subprocess.Popen(
        [sys.executable, "-c", CRASH, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    flushed = 0
    while flushed < 5000:
        flushed = int(child.stdout.readline())
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    found = ids(tmp_path)
    assert len(found) >= flushed
    assert found == [f"{i:06d}" for i in range(len(found))]


def test_a_torn_last_line_is_counted_and_skipped(tmp_path: Path) -> None:
    """A record cut off in the middle does not hide those before it."""
    whole = msgspec.json.encode(record(1))
    (tmp_path / "decisions-1.jsonl").write_bytes(whole + b"\n" + whole[:20])
    reader = LogReader(path=tmp_path)
    assert [r["id"] for r in reader] == ["0001"]
    assert reader.torn == 1


def test_a_newer_schema_is_refused_with_file_and_line(tmp_path: Path) -> None:
    """An old program does not misread a new log."""
    (tmp_path / "decisions-1.jsonl").write_text('{"schema": 99, "kind": "decision"}\n')
    with pytest.raises(LogError, match=r"decisions-1.jsonl:1: schema 99 was written by a newer"):
        list(LogReader(path=tmp_path))


def test_finding_a_record_by_the_beginning_of_its_id(tmp_path: Path) -> None:
    """One match is shown; none or several are an error."""
    lines = b"\n".join(msgspec.json.encode(record(i)) for i in (11, 12))
    (tmp_path / "decisions-1.jsonl").write_bytes(lines)
    reader = LogReader(path=tmp_path)
    assert reader.find("0011")["id"] == "0011"
    with pytest.raises(LogError, match="2 records"):
        reader.find("00")
    with pytest.raises(LogError, match="no record"):
        reader.find("9")
    with pytest.raises(LogError, match="no such log"):
        list(LogReader(path=tmp_path / "absent"))
