"""What /readyz says when a part of the ladder is away, and that it says so no longer when it is back."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.redis_server import RedisServer
from tests.upstream_server import UpstreamServer

from .serving import Serving, chat, ladder, serving, until

CHAT = "/v1/chat/completions"


def ready(server: Serving) -> bool:
    return bool(server.get("/readyz").status_code == 200)


@pytest.mark.redis
def test_a_redis_that_is_away_is_told_until_it_is_back(
    upstream: UpstreamServer, redis_server: RedisServer, tmp_path: Path
) -> None:
    """Cache and ledger each; nothing need be asked for it to be tried again."""
    url = redis_server.url
    more = (
        f"cache: {{kind: redis, url: '{url}'}}\nbudgets: [{{usd: 1, per: day}}]\n"
        f"ledger: {{kind: redis, url: '{url}'}}\nshared: {{url: '{url}'}}"
    )
    with serving(tmp_path, {"a": ladder(upstream, "a", "ok", more=more)}) as server:
        said = server.get("/readyz").json()
        assert said["status"] == "ready"
        parts = said["ladders"]["a"]
        assert (parts["cache"], parts["ledger"], parts["log"]) == ("ok", "ok", "none")
        redis_server.kill()
        server.post(CHAT, chat("cascade/a"))
        until(lambda: not ready(server))
        said = server.get("/readyz")
        assert (said.status_code, said.json()["status"]) == (503, "not_ready")
        assert "cache: cannot be reached" in " ".join(said.json()["reasons"])
        assert "ledger: cannot be reached" in " ".join(said.json()["reasons"])
        assert str(redis_server.port) not in said.text
        # Limits and verdicts learn of it on their own connection, at their own pace.
        until(lambda: bool(server.get("/readyz").json()["ladders"]["a"]["shared"]["down"]))
        redis_server.start()
        until(lambda: ready(server), 30)


def test_rungs_that_take_no_calls_are_told(upstream: UpstreamServer, tmp_path: Path) -> None:
    """All of them: not ready, until one may be probed."""
    breaker = "breaker: {consecutive: 1, open_s: 3}"
    text = ladder(upstream, "a", "server-error", "html").replace("breaker: null", breaker)
    with serving(tmp_path, {"a": text}) as server:
        assert ready(server)
        assert server.post(CHAT, chat("cascade/a")).status_code == 502
        said = server.get("/readyz")
        assert said.status_code == 503
        assert said.json()["reasons"] == ["a: providers: every rung's breaker is open"]
        assert set(said.json()["ladders"]["a"]["rungs"].values()) == {"open"}
        assert "SECRET" not in said.text
        until(lambda: ready(server))  # else nobody would ever send it the call that probes
        assert set(server.get("/readyz").json()["ladders"]["a"]["rungs"].values()) == {"half_open"}


def test_providers_are_connected_to_where_that_is_wanted(
    upstream: UpstreamServer, tmp_path: Path
) -> None:
    """One that answers is enough."""
    away = 'base_url: "http://127.0.0.1:9/v1"'
    here = ladder(upstream, "a", "ok", "ok")
    there = here.replace(f'base_url: "{upstream.url("ok")}"', away)
    both = {"a": here, "b": there.replace("name: a", "name: b")}
    with serving(tmp_path, both, "--check-providers") as server:
        said = server.get("/readyz")
        assert said.status_code == 503
        assert said.json()["reasons"] == ["b: providers: none can be connected to"]
    (tmp_path / "b.yaml").unlink()
    with serving(tmp_path, {"b": there}) as server:
        assert ready(server)


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of a megabyte."""
    folder = Path(tempfile.mkdtemp())
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    can = os.geteuid() == 0 and shutil.which("mount") is not None
    if not can or subprocess.run(mount, capture_output=True, check=False).returncode:
        folder.rmdir()
        pytest.skip("a file system of one's own can only be made by root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)
        folder.rmdir()


def test_a_full_disk_is_told_until_there_is_room(
    upstream: UpstreamServer, tmp_path: Path, small_disk: Path
) -> None:
    """As soon as a record cannot be written."""
    more = f"log: {{path: '{small_disk / 'logs'}', flush_s: 0.05}}"
    with serving(tmp_path, {"a": ladder(upstream, "a", "ok", more=more)}) as server:
        assert server.post(CHAT, chat("cascade/a")).status_code == 200
        assert ready(server)
        ballast = small_disk / "ballast"
        with ballast.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"x" * 512)
            except OSError:
                pass

        def fails() -> bool:
            assert server.post(CHAT, chat("cascade/a")).status_code == 200
            return not ready(server)

        until(fails, 30)
        reasons = server.get("/readyz").json()["reasons"]
        assert reasons == ["a: log: cannot be written (No space left on device)"]
        ballast.unlink()
        until(lambda: ready(server), 30)
