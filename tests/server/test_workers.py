"""Several processes serve at one socket, and nothing that one of them does or suffers is half done."""

from __future__ import annotations

import json
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from cascade.cli import main
from cascade.server.keys import change_keys, new_key
from cascade.server.orders import Loaded, Ready
from cascade.server.slots import Reload, Slot
from tests.upstream_server import UpstreamServer

from .serving import Serving, chat, ladder, serving, until

CHAT = "/v1/chat/completions"


def pids(server: Serving) -> dict[int, int]:
    """Return the process of each worker that serves, by its number: the newest of each."""
    return {line["worker"]: line["pid"] for line in server.events("serving")}


def workers_asked(server: Serving) -> set[int]:
    return {line["worker"] for line in server.events("request")}


def ask_until(server: Serving, true: Any) -> None:
    """Ask from new connections, until something has come true."""

    def asked() -> bool:
        assert server.post(CHAT, chat("cascade/default")).status_code == 200
        return bool(true())

    until(asked, 30)


def test_all_workers_answer_and_each_writes_a_log_of_its_own(
    upstream: UpstreamServer, tmp_path: Path
) -> None:
    """No ask is lost from the log, and no file has two writers."""
    text = ladder(upstream, "a", "ok", more="log: {path: logs}")
    with serving(tmp_path, {"a": text}, "--workers", "2") as server:
        assert server.events("listening")[0]["workers"] == 2
        with ThreadPoolExecutor(8) as pool:
            many = list(pool.map(lambda _: server.post(CHAT, chat("cascade/a")), range(100)))
        assert {answer.status_code for answer in many} == {200}
        ids = {answer.json()["cascade"]["id"] for answer in many}
        ask_until(server, lambda: workers_asked(server) == {1, 2})
        processes = {str(pid) for pid in pids(server).values()}
        assert server.stop() == 0
    segments = list((tmp_path / "logs").glob("decisions-*.jsonl"))
    assert {segment.stem.split("-")[2] for segment in segments} == processes
    lines = [json.loads(line) for file in segments for line in file.read_text().splitlines()]
    assert ids <= {line["id"] for line in lines}
    assert len(lines) == len({line["id"] for line in lines})


def test_a_worker_that_dies_is_replaced_by_one_that_serves_the_same(
    upstream: UpstreamServer, tmp_path: Path
) -> None:
    """Even while the file is bad: the new one is given what the others serve."""
    good = ladder(upstream, "a", "ok")
    with serving(tmp_path, {"a": good}, "--workers", "2") as server:
        (tmp_path / "a.yaml").write_text(good.replace("price:", "prize:"))
        until(lambda: server.events("reload failed"))
        before = pids(server)
        os.kill(before[1], signal.SIGKILL)
        until(lambda: server.events("worker died"))
        told = server.events("worker died")[0]
        assert (told["worker"], told["pid"], told["code"]) == (1, before[1], -9)
        assert server.post(CHAT, chat("cascade/a")).status_code == 200  # by the other one
        until(lambda: pids(server)[1] != before[1], 30)
        assert pids(server)[2] == before[2]
        ask_until(server, lambda: server.events("request")[-1]["worker"] == 1)
        until(lambda: "prize" in str(server.get("/readyz").json()["problems"]))


def test_a_hang_up_reloads_all_workers_or_none(upstream: UpstreamServer, tmp_path: Path) -> None:
    """They change from the old to the new, and stay with the old when one file is bad."""
    texts = {name: ladder(upstream, name, "ok") for name in ("a", "b")}
    with serving(tmp_path, texts, "--workers", "2") as server:
        (tmp_path / "a.yaml").write_text(texts["a"].replace("a-0", "new-0"))
        (tmp_path / "b.yaml").write_text("name: [")
        server.process.send_signal(signal.SIGHUP)
        until(lambda: "b.yaml" in str(server.events("reload failed")))
        models = {server.post(CHAT, chat("cascade/a")).json()["model"] for _ in range(20)}
        assert models == {"a-0"}
        (tmp_path / "b.yaml").write_text(texts["b"])
        server.process.send_signal(signal.SIGHUP)
        until(lambda: server.events("reloaded"))
        ready = until(lambda: [server.get("/readyz").json()["reload"]] == ["ok"])
        assert ready
        until(lambda: server.post(CHAT, chat("cascade/a")).json()["model"] == "new-0")
        models = {server.post(CHAT, chat("cascade/a")).json()["model"] for _ in range(20)}
        assert models == {"new-0"}
        assert server.process.poll() is None


def test_keys_change_for_all_workers(upstream: UpstreamServer, tmp_path: Path) -> None:
    """A revoked key is refused by each."""
    keys = tmp_path / "keys.json"
    change_keys(keys, lambda present: [*present, new_key(tenant="t")[1]])
    text = ladder(upstream, "a", "ok")
    with serving(tmp_path, {"a": text}, "--keys", str(keys), "--workers", "2") as server:
        assert server.post(CHAT, chat("cascade/a")).status_code == 401
        keys.write_text("{}[")
        until(lambda: server.events("reload failed"))
        keys.write_text('{"version": 1, "keys": []}')
        until(lambda: server.events("keys loaded"))


def test_the_end_waits_for_asks_in_flight_at_each_worker(
    upstream: UpstreamServer, tmp_path: Path
) -> None:
    """All are answered, new connections are refused, the exit code is 0."""
    with serving(tmp_path, {"a": ladder(upstream, "a", "drip")}, "--workers", "2") as server:
        # A worker that is told to end before it listens for that has nothing to wait for.
        until(lambda: server.get("/healthz") and workers_asked(server) == {1, 2}, 30)
        answers: list[httpx.Response] = []
        before = len(upstream.seen("drip"))
        asking = [
            threading.Thread(target=lambda: answers.append(server.post(CHAT, chat("cascade/a"))))
            for _ in range(6)
        ]
        for thread in asking:
            thread.start()
        until(lambda: len(upstream.seen("drip")) >= before + 6)
        assert server.stop() == 0
        for thread in asking:
            thread.join()
        assert [answer.status_code for answer in answers] == [200] * 6
        until(  # the log may be read a moment after the process has ended
            lambda: (
                {line["worker"] for line in server.events("closing") if "worker" in line} == {1, 2}
            )
        )
        assert server.events("closed")
        with pytest.raises(httpx.ConnectError):
            server.get("/healthz")


def test_workers_end_when_their_supervisor_is_gone(
    upstream: UpstreamServer, tmp_path: Path
) -> None:
    """Nobody would replace or reload them any more."""
    with serving(tmp_path, {"a": ladder(upstream, "a", "ok")}, "--workers", "2") as server:
        server.stop(signal.SIGKILL)
        for pid in pids(server).values():
            until(lambda pid=pid: not Path(f"/proc/{pid}").exists())  # type: ignore[misc]
        assert len(server.events("the supervisor is gone")) == 2


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("prize: 3", "prize: unknown key"),
        (
            "budgets: [{usd: 1, per: day}]\nledger: {kind: memory}",
            "ledger: `kind: memory` counts in one, and 2 workers are wanted",
        ),
        (
            "budgets: [{usd: 1, per: day}]",
            "ledger: `kind: sqlite` can be open in one process, and 2 workers are wanted",
        ),
        (
            'tenants: {"*": {limits: {requests_per_min: 60}}}\n'
            "ledger: {kind: redis, url: 'redis://127.0.0.1:1/0'}",
            "tenants.*.limits.requests_per_min: each of 2 workers would count it for itself",
        ),
    ],
    ids=["mistake", "memory", "sqlite", "limits"],
)
def test_what_several_workers_cannot_serve_is_wrong_usage(
    upstream: UpstreamServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    more: str,
    words: str,
) -> None:
    """Told once, with the place."""
    file = tmp_path / "a.yaml"
    file.write_text(ladder(upstream, "a", "ok", more=more))
    with pytest.raises(SystemExit) as raised:
        main(["serve", "-c", str(file), "--port", "0", "--workers", "2"])
    err = " ".join(capsys.readouterr().err.split())
    assert raised.value.code == 2
    assert err.count(words) == 1, err


def test_a_reload_hears_only_what_is_said_of_it() -> None:
    """Answers to an earlier one come too late."""
    file = Path("a.yaml")
    reload = Reload(2, {file: b""}, [1, 2])
    slot = Slot(1)
    slot.begun(Ready(ladders=("a",), grace_s=1.0))
    reload.hear(slot, Loaded(turn=1, failures={file: ("old",)}))
    assert (reload.waiting, reload.failures) == ({1, 2}, {})
    reload.hear(slot, Loaded(turn=2, ladders=("a",)))
    assert (reload.waiting, reload.names) == ({2}, {"a"})


def test_the_metrics_of_all_workers_are_added_up(upstream: UpstreamServer, tmp_path: Path) -> None:
    """Whichever answers; those of one that has died too, but not what it was doing."""
    text = ladder(upstream, "a", "ok", more="telemetry: {prometheus: true}")

    def read(server: Serving) -> dict[tuple[str, ...], float]:
        families = text_string_to_metric_families(server.get("/metrics").text)
        return {
            (sample.name, *sorted(sample.labels.values())): sample.value
            for family in families
            for sample in family.samples
        }

    with serving(tmp_path, {"a": text}, "--workers", "2") as server:
        asked = 0

        def ask_all() -> bool:
            nonlocal asked
            assert server.post(CHAT, chat("cascade/a")).status_code == 200
            asked += 1
            return workers_asked(server) == {1, 2}

        until(ask_all, 30)
        for _ in range(4):  # of either worker, as it happens
            assert read(server)["cascade_asks_total", "", "a", "answered"] == asked
        assert read(server)["cascade_ask_seconds_count", "a"] == asked
        assert read(server)["cascade_asks_in_flight", "a"] == 0
        os.kill(pids(server)[1], signal.SIGKILL)
        until(lambda: len(server.events("serving")) == 3)
        assert read(server)["cascade_asks_total", "", "a", "answered"] == asked
        assert server.stop() == 0
