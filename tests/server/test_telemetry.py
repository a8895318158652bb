"""`/metrics`, and spans of asks that come over HTTP."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_open_metrics,
)
from prometheus_client.parser import text_string_to_metric_families

from cascade.cli import main
from tests.telemetry.otlp_receiver import OtlpReceiver, running_receiver
from tests.upstream_server import UpstreamServer

from .serving import Serving, chat, ladder, serving, until

CHAT = "/v1/chat/completions"
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture(scope="module")
def receiver() -> Iterator[OtlpReceiver]:
    """A receiver of spans."""
    with running_receiver() as running:
        yield running


@pytest.fixture(scope="module")
def told(
    upstream: UpstreamServer, receiver: OtlpReceiver, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Serving]:
    """A server whose ladders have metrics and spans."""
    otel = f'otel: {{endpoint: "{receiver.endpoint}"}}'
    cached = "cache: {kind: memory, max_mb: 8}"
    ladders = {
        "seen": ladder(
            upstream, "seen", "ok", more=f"{cached}\ntelemetry: {{prometheus: true, {otel}}}"
        ),
        "down": ladder(
            upstream, "down", "server-error", "html", more="telemetry: {prometheus: true}"
        ),
        "hangs": ladder(upstream, "hangs", "hang"),
    }
    with serving(tmp_path_factory.mktemp("told"), ladders) as running:
        yield running


def test_metrics_are_shown_as_scrapers_read_them(told: Serving) -> None:
    """All ladders' in one text, in the format that is asked for."""
    for _ in range(2):
        assert told.post(CHAT, chat("cascade/seen")).status_code == 200
    assert told.post(CHAT, chat("cascade/down", "SECRET-WORDS")).status_code == 502
    answer = told.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
    assert samples["cascade_asks_total", "", "answered", "seen"] == 2
    assert samples["cascade_asks_total", "down", "failed", "other"] == 1
    assert samples["cascade_cache_lookups_total", "exact", "seen"] == 1
    assert samples["cascade_escalations_total", "0", "down", "down-0", "server_error"] == 1
    assert samples["cascade_asks_in_flight", "seen"] == 0
    assert samples["process_open_fds",] > 0
    assert "SECRET" not in answer.text
    newer = told.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert newer.headers["content-type"].startswith("application/openmetrics-text")
    assert any(family.name == "cascade_asks" for family in parse_open_metrics(newer.text))


def test_requests_are_counted_by_path_and_kind_of_answer(told: Serving) -> None:
    """Paths that there are not have one name; who asks is the only one under way."""

    def counted() -> dict[tuple[str, ...], float]:
        families = text_string_to_metric_families(told.get("/metrics").text)
        return {
            (sample.name, *sample.labels.values()): sample.value
            for family in families
            if family.name.startswith("cascade_http_")
            for sample in family.samples
        }

    total, under_way = "cascade_http_requests_total", "cascade_http_requests_in_flight"
    before = counted()
    told.post(CHAT, chat("cascade/seen", "counted"))
    told.post(CHAT, {"model": "cascade/seen"})
    told.post(CHAT, chat("cascade/down", "counted"))
    told.get("/v1/models/SECRET-WORDS")
    told.get("/SECRET-WORDS")
    told.get(CHAT)
    with socket.create_connection(("127.0.0.1", httpx.URL(told.url).port)) as raw:
        raw.sendall(b"no HTTP at all\r\n\r\n")
        assert b" 400 " in raw.recv(1000)
    after = counted()
    grown = {key: value - before.get(key, 0) for key, value in after.items() if key[0] == total}
    expected = {
        (CHAT, "2xx"): 1,
        (CHAT, "4xx"): 1,
        (CHAT, "5xx"): 1,
        ("/v1/models/{id}", "4xx"): 1,
        ("other", "4xx"): 3,
        ("/metrics", "2xx"): 1,
    }
    assert {key[1:]: value for key, value in grown.items() if value} == expected
    assert after[under_way, "/metrics"] == 1
    assert after[under_way, CHAT] == 0
    assert not any("SECRET" in word for key in after for word in key)


def test_a_client_that_leaves_is_counted_as_such(told: Serving) -> None:
    """And no longer as under way."""
    with contextlib.suppress(httpx.ReadTimeout):
        httpx.post(f"{told.url}{CHAT}", json=chat("cascade/hangs"), timeout=0.3, trust_env=False)

    def left() -> str:
        text = told.get("/metrics").text
        return text if f'requests_total{{path="{CHAT}",status="left"}} 1.0' in text else ""

    assert f'in_flight{{path="{CHAT}"}} 0.0' in until(left)


def test_an_ask_is_a_child_of_what_its_caller_is_doing(
    told: Serving, receiver: OtlpReceiver
) -> None:
    """As the header `traceparent` says; the request's id and the trace meet in the ask's id."""
    answer = told.post(CHAT, chat("cascade/seen", "traced"), headers={"traceparent": PARENT})
    assert answer.status_code == 200

    def mine() -> list[dict[str, object]]:
        return [span for span in receiver.spans() if span["parent"] == PARENT.split("-")[2]]

    until(mine, 30)
    (span,) = mine()
    assert span["trace"] == PARENT.split("-")[1]
    attributes = span["attributes"]
    assert isinstance(attributes, dict)
    assert attributes["cascade.ask.id"] == answer.headers["x-cascade-id"]
    assert "traced" not in json.dumps(receiver.spans())


def test_the_provider_is_told_of_the_trace(
    told: Serving, receiver: OtlpReceiver, upstream: UpstreamServer
) -> None:
    """Its spans would be children of the call's; what the caller says of the trace goes along."""
    headers = {"traceparent": PARENT, "tracestate": "shop=1"}
    answer = told.post(CHAT, chat("cascade/seen", "told of"), headers=headers)
    assert answer.status_code == 200
    sent = upstream.seen("ok")[-1]
    version, trace, span_id, flags = sent["headers"]["traceparent"].split("-")
    assert (version, trace, flags) == ("00", PARENT.split("-")[1], "01")
    assert sent["headers"]["tracestate"] == "shop=1"

    def call() -> list[dict[str, object]]:
        return [span for span in receiver.spans() if span["id"] == span_id]

    (span,) = until(call, 30)
    assert span["name"] == "chat seen-0"


def test_what_the_caller_does_not_trace_is_told_as_such(
    told: Serving, upstream: UpstreamServer
) -> None:
    """With the flag that says so."""
    headers = {"traceparent": PARENT[:-1] + "0"}
    assert told.post(CHAT, chat("cascade/seen", "not"), headers=headers).status_code == 200
    sent = upstream.seen("ok")[-1]["headers"]["traceparent"]
    assert (sent.split("-")[1], sent.split("-")[3]) == (PARENT.split("-")[1], "00")


def test_without_metrics_the_path_says_how_to_have_them(server: Serving) -> None:
    """As a 404."""
    answer = server.get("/metrics")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "metrics_off")


def test_metrics_are_for_keys_that_may_see_everything(
    upstream: UpstreamServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They tell what all tenants spend."""
    file = str(tmp_path / "keys.json")
    secrets = []
    for options in ([], ["--tenant", "acme"], ["--ladder", "seen"]):
        with pytest.raises(SystemExit) as ended:
            main(["keys", "new", "-k", file, *options])
        assert not ended.value.code
        secrets.append(capsys.readouterr().out.strip())
    ladders = {"seen": ladder(upstream, "seen", "ok", more="telemetry: {prometheus: true}")}
    with serving(tmp_path, ladders, "--keys", file) as running:
        statuses = [
            running.get("/metrics", headers={"authorization": f"Bearer {secret}"}).status_code
            for secret in secrets
        ]
        assert statuses == [200, 403, 403]
        assert running.get("/metrics").status_code == 401
