"""Servers behind one Redis keep one budget and one limit together, under load."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from cascade.server.keys import change_keys, new_key
from tests.redis_server import RedisServer
from tests.upstream_server import UpstreamServer

from .serving import Serving, chat, ladder, serving, until

pytestmark = pytest.mark.redis

CHAT = "/v1/chat/completions"
CALL_USD = 9 * 1_000 / 1e6
"""What a call to the test upstream costs: 9 tokens at 1,000 dollars a million."""


def asked(servers: list[Serving], many: int) -> list[httpx.Response]:
    """Ask these servers in turns, many at once."""
    with ThreadPoolExecutor(16) as pool:
        turns = [(servers[i % len(servers)], f"question {i}") for i in range(many)]
        return list(pool.map(lambda turn: turn[0].post(CHAT, chat("cascade/a", turn[1])), turns))


def two_servers(
    stack: ExitStack, tmp_path: Path, text: str, *options: str
) -> tuple[Serving, Serving]:
    found = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        found.append(stack.enter_context(serving(tmp_path / name, {"a": text}, *options)))
    return found[0], found[1]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_two_servers_keep_one_budget(
    upstream: UpstreamServer, redis_server: RedisServer, tmp_path: Path, workers: str
) -> None:
    """Nothing is spent beyond it where calls cost less than is held for them; the rest gets 429."""
    budget = 20.5 * CALL_USD
    more = (
        f"budgets: [{{usd: {budget}, per: month}}]\n"
        f"ledger: {{kind: redis, url: '{redis_server.url}', on_outage: closed}}"
    )  # on a machine so busy that Redis is late, `open` would let calls through unseen
    # held for each: 20 tokens of answer, where 2 come
    text = ladder(upstream, "a", "ok", more=more, rung="max_tokens: 20, ")
    before = len(upstream.seen("ok"))
    with ExitStack() as stack:
        servers = list(two_servers(stack, tmp_path, text, "--workers", workers))
        answers = asked(servers, 80)
        for server in servers:  # what is left pays for some more at first
            until(lambda s=server: s.post(CHAT, chat("cascade/a", "late")).status_code == 429, 30)  # type: ignore[misc]
    statuses = [answer.status_code for answer in answers]
    assert set(statuses) == {200, 429}
    spent = CALL_USD * (len(upstream.seen("ok")) - before)
    assert CALL_USD <= spent <= budget
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert refused.json()["error"]["code"] == "budget_exceeded"
    assert int(refused.headers["retry-after"]) > 0


def test_two_servers_keep_one_limit(
    upstream: UpstreamServer, redis_server: RedisServer, tmp_path: Path
) -> None:
    """A burst of ten for both together, and not for each."""
    more = (
        'tenants: {"*": {limits: {requests_per_min: 60, when_full: refuse}}}\n'
        f"ledger: {{kind: redis, url: '{redis_server.url}'}}\n"
        f"shared: {{url: '{redis_server.url}'}}"
    )
    text = ladder(upstream, "a", "ok", more=more)
    keys = tmp_path / "keys.json"
    secret, key = new_key(tenant="acme")
    change_keys(keys, lambda present: [*present, key])
    headers = {"authorization": f"Bearer {secret}"}
    with ExitStack() as stack:
        servers = two_servers(stack, tmp_path, text, "--keys", str(keys))
        began = time.monotonic()
        with ThreadPoolExecutor(16) as pool:
            answers = list(
                pool.map(
                    lambda i: servers[i % 2].post(
                        CHAT, chat("cascade/a", f"question {i}"), headers=headers
                    ),
                    range(60),
                )
            )
        took_s = time.monotonic() - began
        told = [server.get("/readyz", headers=headers).json() for server in servers]
        alone = sum(one["ladders"]["a"]["shared"]["alone"] for one in told)  # Redis was late
    served = [answer for answer in answers if answer.status_code == 200]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert len(served) + len(refused) == 60
    assert 10 <= len(served) <= 11 + took_s + alone  # one more a second
    assert {answer.json()["error"]["code"] for answer in refused} == {"limit_reached"}
