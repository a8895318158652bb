"""Keys: their file, the command, and what the server makes of them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cascade.cli import main
from cascade.errors import ConfigError
from cascade.server.keys import Key, KeyRing, change_keys, new_key, read_keys
from cascade.testing import FakeClock
from tests.upstream_server import UpstreamServer

from .serving import Serving, chat, ladder, serving, until

CHAT = "/v1/chat/completions"


def test_the_file_holds_no_key(tmp_path: Path) -> None:
    """A digest, for its owner alone to read."""
    file = tmp_path / "keys.json"
    secret, key = new_key(tenant="acme", ladders=["a"], name="ci")
    change_keys(file, lambda present: [*present, key])
    assert secret not in file.read_text()
    assert secret.rpartition("-")[2] not in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    assert read_keys(file) == (key,)


def test_a_key_is_found_by_all_of_it() -> None:
    """Not by its id, its beginning, or anything else."""
    secret, key = new_key()
    ring = KeyRing([key])
    assert ring.find(secret) == key
    for wrong in ("", "ck", f"ck-{key.id}", f"ck-{key.id}-", secret[:-1], secret + "x", "é" * 9):
        assert ring.find(wrong) is None


def test_a_key_expires() -> None:
    """At the moment it says."""
    clock = FakeClock()
    _, key = new_key(expires_in_s=60, clock=clock)
    ring = KeyRing([key], clock)
    assert not ring.has_expired(key)
    clock.seconds += 60
    assert ring.has_expired(key)


def test_changes_at_once_are_all_kept(tmp_path: Path) -> None:
    """They wait for each other."""
    file = tmp_path / "keys.json"

    def add() -> None:
        change_keys(file, lambda present: [*present, new_key()[1]])

    threads = [threading.Thread(target=add) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read_keys(file)) == 16
    assert sorted(path.name for path in tmp_path.iterdir()) == ["keys.json", "keys.json.lock"]


BAD = {
    "no JSON": b"{",
    "another version": b'{"version": 2, "keys": []}',
    "an unknown field": b'{"keys": [{"id": "a", "sha256": "00", "colour": "red"}]}',
    "no digest": b'{"keys": [{"id": "a", "sha256": "SECRET"}]}',
    "a short digest": b'{"keys": [{"id": "a", "sha256": "00"}]}',
    "bad UTF-8": b'{"keys": "\xff"}',
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD.keys())
def test_a_file_that_is_none_is_refused(tmp_path: Path, text: bytes) -> None:
    """With its name, and nothing of what it holds."""
    file = tmp_path / "keys.json"
    file.write_bytes(text)
    with pytest.raises(ConfigError, match=r"keys\.json: ") as caught:
        read_keys(file)
    assert "SECRET" not in str(caught.value)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[str, str, int]:
    code = 0
    try:
        main(arguments)
    except SystemExit as exc:
        code = int(exc.code or 0)
    out, err = capsys.readouterr()
    return out, err, code


def test_the_command_makes_lists_and_revokes_keys(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The key is printed once, and never again."""
    file = str(tmp_path / "keys.json")
    out, _, code = run(capsys, "keys", "new", "--tenant", "acme", "--expires-in", "2h", "-k", file)
    assert code == 0
    secret = out.strip()
    key = KeyRing(read_keys(Path(file))).find(secret)
    assert key is not None
    assert key.tenant == "acme"
    listed, _, _ = run(capsys, "keys", "ls", "-k", file)
    assert key.id in listed
    assert secret not in listed
    as_json, _, _ = run(capsys, "keys", "ls", "-k", file, "--json")
    assert "sha256" not in json.loads(as_json)
    _, err, code = run(capsys, "keys", "rm", "nothing", "-k", file)
    assert (code, "no key 'nothing'" in err) == (2, True)
    assert run(capsys, "keys", "rm", key.id, "-k", file) == ("1 key removed\n", "", 0)
    assert read_keys(Path(file)) == ()


@pytest.mark.parametrize("given", ["soon", "0d", "-1d", "9" * 9 + "d"])
def test_a_time_that_is_none_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], given: str
) -> None:
    """As wrong usage."""
    arguments = ("keys", "new", f"--expires-in={given}", "-k", str(tmp_path / "keys.json"))
    assert run(capsys, *arguments)[2] == 2


def test_without_keys_no_other_address_is_listened_at(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As wrong usage, before anything is opened."""
    file = str(tmp_path / "ladder.yaml")
    _, err, code = run(capsys, "serve", "-c", file, "--host", "0.0.0.0")
    assert code == 2
    assert "give --keys" in err


TENANTS = """
tenants:
  acme: {limits: {requests_per_min: 1, when_full: refuse}}
  free: {budgets: [{tokens: 1, per: day}]}
  "*": {}
ledger: {kind: memory}
log: {path: logs}
"""


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A file of keys, and the keys by name."""
    file = tmp_path_factory.mktemp("keys") / "keys.json"
    made: dict[str, tuple[str, Key]] = {
        "acme": new_key(tenant="acme"),
        "free": new_key(tenant="free"),
        "plain": new_key(tenant="plain"),
        "narrow": new_key(tenant="narrow", ladders=["second"]),
        "old": new_key(expires_in_s=1e-3),
        "revoked": new_key(),
    }
    change_keys(file, lambda present: [key for _, key in made.values()])
    return file, {name: secret for name, (secret, _) in made.items()}


@pytest.fixture(scope="module")
def guarded(
    upstream: UpstreamServer,
    tmp_path_factory: pytest.TempPathFactory,
    keys: tuple[Path, dict[str, str]],
) -> Iterator[Serving]:
    """A server that asks for keys."""
    ladders = {
        "first": ladder(upstream, "first", "ok", more=TENANTS),
        "second": ladder(upstream, "second", "ok"),
    }
    folder = tmp_path_factory.mktemp("guarded")
    with serving(folder, ladders, "--keys", str(keys[0]), "--host", "0.0.0.0") as running:
        running.url = running.url.replace("0.0.0.0", "127.0.0.1")
        yield running


def bearer(keys: tuple[Path, dict[str, str]], name: str) -> dict[str, str]:
    return {"authorization": f"Bearer {keys[1][name]}"}


def test_both_headers_take_a_key(guarded: Serving, keys: tuple[Path, dict[str, str]]) -> None:
    """Those of OpenAI's and of Anthropic's SDK, on every path."""
    body = chat("cascade/first")
    assert guarded.post(CHAT, body, headers=bearer(keys, "plain")).status_code == 200
    given = {"x-api-key": keys[1]["plain"]}
    assert guarded.post("/v1/messages", body, headers=given).status_code == 200


def test_the_tenant_is_that_of_the_key(guarded: Serving, keys: tuple[Path, dict[str, str]]) -> None:
    """As it stands in the decision log."""
    answer = guarded.post(CHAT, chat("cascade/first"), headers=bearer(keys, "plain"))

    def records() -> list[str]:
        lines = [f.read_text().splitlines() for f in (guarded.folder / "logs").glob("*.jsonl")]
        wanted = answer.json()["cascade"]["id"]
        return [line for found in lines for line in found if wanted in line]

    assert json.loads(until(records)[0])["tenant"] == "plain"


REFUSED = {
    "none": ({}, "missing_api_key"),
    "unknown": ({"authorization": "Bearer ck-0123-nothing"}, "invalid_api_key"),
    "no bearer": ({"authorization": "Basic abc"}, "missing_api_key"),
    "in no header's characters": ({"x-api-key": b"\xff\xfe"}, "invalid_api_key"),
}


@pytest.mark.parametrize(("headers", "code"), REFUSED.values(), ids=REFUSED.keys())
def test_a_wrong_key_is_refused(guarded: Serving, headers: dict[str, str], code: str) -> None:
    """With a 401 in the path's own shape."""
    for path in (CHAT, "/v1/feedback"):
        answer = guarded.post(path, chat("cascade/first"), headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, code)
    answer = guarded.post("/v1/messages", chat("cascade/first"), headers=headers)
    assert answer.json()["error"]["type"] == "authentication_error"
    assert guarded.get("/v1/models", headers=headers).status_code == 401


def test_an_expired_key_is_refused(guarded: Serving, keys: tuple[Path, dict[str, str]]) -> None:
    """And told so: its holder has shown it."""
    answer = guarded.post(CHAT, chat("cascade/first"), headers=bearer(keys, "old"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "expired_api_key")


def test_a_key_asks_only_its_ladders(guarded: Serving, keys: tuple[Path, dict[str, str]]) -> None:
    """Others do not exist for it."""
    mine = bearer(keys, "narrow")
    listed = guarded.get("/v1/models", headers=mine).json()["data"]
    assert [entry["id"] for entry in listed] == ["cascade/second"]
    assert guarded.post(CHAT, chat("cascade/second"), headers=mine).status_code == 200
    answer = guarded.post(CHAT, chat("cascade/first"), headers=mine)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
    assert "cascade/first" not in answer.json()["error"]["message"].partition("allowed")[2]


def test_a_tenants_limit_says_when_there_is_room(
    guarded: Serving, keys: tuple[Path, dict[str, str]]
) -> None:
    """As a 429, which the limits of others do not touch."""
    mine = bearer(keys, "acme")
    answers = [guarded.post(CHAT, chat("cascade/first"), headers=mine) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 429]
    error = answers[1].json()["error"]
    assert (error["type"], error["code"]) == ("rate_limit_error", "limit_reached")
    assert 1 <= int(answers[1].headers["retry-after"]) <= 60
    other = guarded.post(CHAT, chat("cascade/first"), headers=bearer(keys, "plain"))
    assert other.status_code == 200


def test_a_tenants_spent_budget_is_a_429(
    guarded: Serving, keys: tuple[Path, dict[str, str]]
) -> None:
    """In both shapes."""
    mine = bearer(keys, "free")
    answer = guarded.post(CHAT, chat("cascade/first"), headers=mine)
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "budget_exceeded")
    answer = guarded.post("/v1/messages", chat("cascade/first"), headers=mine)
    assert answer.json()["error"]["type"] == "rate_limit_error"


def test_a_revoked_key_is_refused_within_a_second(
    guarded: Serving, keys: tuple[Path, dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a restart; and a damaged file takes no key away."""
    mine = bearer(keys, "revoked")
    assert guarded.get("/v1/models", headers=mine).status_code == 200
    key = KeyRing(read_keys(keys[0])).find(keys[1]["revoked"])
    assert key is not None
    assert run(capsys, "keys", "rm", key.id, "-k", str(keys[0]))[2] == 0
    until(lambda: guarded.get("/v1/models", headers=mine).status_code == 401)
    whole = keys[0].read_bytes()
    keys[0].write_bytes(b"{")
    until(lambda: guarded.get("/readyz").json()["reload"] == "failed")
    good = bearer(keys, "plain")
    assert guarded.get("/v1/models", headers=good).status_code == 200
    assert "keys.json" in guarded.get("/readyz", headers=good).json()["problems"][0]
    assert "problems" not in guarded.get("/readyz").json()
    keys[0].write_bytes(whole)
    until(lambda: guarded.get("/readyz").json()["reload"] == "ok")
