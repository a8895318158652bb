"""Ladders change while the server runs, and it ends without losing an ask."""

from __future__ import annotations

import signal
import threading
import time
from functools import partial
from pathlib import Path

import httpx
import pytest

from cascade.cli import main
from tests.upstream_server import UpstreamServer

from .serving import Serving, chat, ladder, serving, until

CHAT = "/v1/chat/completions"
BUDGETS = "budgets: [{usd: 0.02, per: month}]\n"


def more_than(server: Serving, told: int) -> bool:
    return len(server.events("reload failed")) > told


def test_a_changed_file_is_served_within_a_second(upstream: UpstreamServer, tmp_path: Path) -> None:
    """Other rungs, under another name even."""
    with serving(tmp_path, {"a": ladder(upstream, "a", "ok")}) as server:
        (tmp_path / "a.yaml").write_text(ladder(upstream, "b", "ok"))
        until(lambda: server.post(CHAT, chat("cascade/b")).status_code == 200)
        assert server.post(CHAT, chat("cascade/a")).status_code == 404
        assert server.post(CHAT, chat("cascade/default")).json()["model"] == "b-0"


def test_a_bad_file_changes_nothing_and_is_told(upstream: UpstreamServer, tmp_path: Path) -> None:
    """In the log and at /readyz, with line and key, until it is mended."""
    good = ladder(upstream, "a", "ok")
    with serving(tmp_path, {"a": good, "z": ladder(upstream, "z", "ok")}) as server:
        file = tmp_path / "a.yaml"
        for bad, words in (
            (good.replace("price:", "prize:"), "prize"),
            ("name: [", "a.yaml"),
            (good.replace("name: a", "name: z"), "is that of"),
            (good + "log: {path: a.yaml}\n", "a.yaml"),
        ):
            told = len(server.events("reload failed"))
            file.write_text(bad)
            until(partial(more_than, server, told))
            assert words in server.events("reload failed")[told]["problem"]
            ready = server.get("/readyz")
            assert (ready.status_code, ready.json()["reload"]) == (200, "failed")
            assert words in ready.json()["problems"][0]
            assert server.post(CHAT, chat("cascade/a")).json()["model"] == "a-0"
        file.unlink()
        until(lambda: "cannot be read" in str(server.get("/readyz").json()["problems"]))
        assert server.post(CHAT, chat("cascade/a")).status_code == 200
        file.write_text(good)
        until(lambda: server.get("/readyz").json()["reload"] == "ok")


def test_a_hang_up_reloads_all_or_nothing(upstream: UpstreamServer, tmp_path: Path) -> None:
    """The good ladder is not taken while the other is bad."""
    texts = {name: ladder(upstream, name, "ok") for name in ("a", "b")}
    with serving(tmp_path, texts) as server:
        loaded = [served["loaded"] for served in server.get("/readyz").json()["ladders"].values()]
        time.sleep(1)
        server.process.send_signal(signal.SIGHUP)
        until(lambda: server.events("reloaded"))
        again = server.get("/readyz").json()["ladders"]
        assert all(served["loaded"] > loaded[0] for served in again.values())
        assert server.process.poll() is None


def test_asks_in_flight_finish_on_the_old_ladder(upstream: UpstreamServer, tmp_path: Path) -> None:
    """While new ones go to the new."""
    text = ladder(upstream, "a", "drip")
    with serving(tmp_path, {"a": text}) as server:
        answers: list[httpx.Response] = []
        asking = threading.Thread(
            target=lambda: answers.append(server.post(CHAT, chat("cascade/a")))
        )
        before = len(upstream.seen("drip"))
        asking.start()
        until(lambda: len(upstream.seen("drip")) > before)
        (tmp_path / "a.yaml").write_text(text.replace("a-0", "new-0"))
        server.process.send_signal(signal.SIGHUP)
        until(lambda: server.events("reloaded"))
        assert server.post(CHAT, chat("cascade/a")).json()["model"] == "new-0"
        asking.join()
        assert answers[0].json()["model"] == "a-0"


@pytest.mark.parametrize("ledger", ["{kind: memory}", "{kind: sqlite, path: ledger.sqlite3}"])
def test_what_was_spent_outlives_a_reload(
    upstream: UpstreamServer, tmp_path: Path, ledger: str
) -> None:
    """The new engine counts in the ledger of the old."""
    text = ladder(upstream, "a", "ok", more=f"{BUDGETS}ledger: {ledger}")
    with serving(tmp_path, {"a": text}) as server:
        for i in range(2):
            body = chat("cascade/a", str(i), max_tokens=2)
            assert server.post(CHAT, body).status_code == 200
        server.process.send_signal(signal.SIGHUP)
        until(lambda: server.events("reloaded"))
        time.sleep(0.7)  # the old engine is closed meanwhile
        assert server.post(CHAT, chat("cascade/a", "third", max_tokens=2)).status_code == 429
        assert server.stop() == 0


def slow_ask(server: Serving, answers: list[httpx.Response], model: str) -> threading.Thread:
    asking = threading.Thread(target=lambda: answers.append(server.post(CHAT, chat(model))))
    asking.start()
    return asking


def test_the_end_waits_for_asks_in_flight(upstream: UpstreamServer, tmp_path: Path) -> None:
    """New connections are refused, the ask is answered, the exit code is 0."""
    with serving(tmp_path, {"a": ladder(upstream, "a", "drip")}) as server:
        answers: list[httpx.Response] = []
        before = len(upstream.seen("drip"))
        asking = slow_ask(server, answers, "cascade/a")
        until(lambda: len(upstream.seen("drip")) > before)
        assert server.stop() == 0
        asking.join()
        assert answers[0].status_code == 200
        assert [line["event"] for line in server.log if line["event"] in ("closing", "closed")]
        with pytest.raises(httpx.ConnectError):
            server.get("/healthz")


def test_asks_that_outlast_the_grace_time_are_cut_and_told_so(
    upstream: UpstreamServer, tmp_path: Path
) -> None:
    """With a 503, soon after."""
    text = ladder(upstream, "a", "hang")
    with serving(tmp_path, {"a": text}, "--grace-s", "0.3") as server:
        answers: list[httpx.Response] = []
        before = len(upstream.seen("hang"))
        asking = slow_ask(server, answers, "cascade/a")
        until(lambda: len(upstream.seen("hang")) > before)
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < 15  # the upstream hangs for 30
        asking.join()
        assert (answers[0].status_code, answers[0].json()["error"]["code"]) == (503, "closing")
        assert answers[0].headers["retry-after"] == "1"


def serve(*arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[str, int]:
    code = 0
    try:
        main(["serve", *arguments])
    except SystemExit as exc:
        code = int(exc.code or 0)
    return capsys.readouterr().err, code


def test_a_bad_file_at_the_start_is_wrong_usage(
    upstream: UpstreamServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every mistake is told."""
    file = tmp_path / "a.yaml"
    file.write_text(ladder(upstream, "a", "ok").replace("price:", "prize:"))
    err, code = serve("-c", str(file), "--port", "0", capsys=capsys)
    assert (code, "prize" in err) == (2, True)


def test_an_address_in_use_is_wrong_usage(
    upstream: UpstreamServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the address."""
    file = tmp_path / "a.yaml"
    file.write_text(ladder(upstream, "a", "ok"))
    err, code = serve("-c", str(file), "--port", str(upstream.port), capsys=capsys)
    assert (code, f"127.0.0.1:{upstream.port}: cannot listen there" in err) == (2, True)
