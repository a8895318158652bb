"""The server against its own OpenAPI document: the documented status and shape, whatever is sent."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import load_all_checks

from cascade.server.fields import ChatFields, FeedbackFields, MessageFields
from cascade.server.openapi import openapi_document
from cascade.server.options import Options
from tests.upstream_server import UpstreamServer

from .serving import Serving, ladder, serving

ROOT = Path(__file__).parents[2]
DOCUMENT = json.loads(openapi_document())
SERVED = ("cascade/ok", "cascade/tools", "cascade/claude", "cascade/streams", "cascade/broken")


@pytest.fixture(scope="module")
def asked(upstream: UpstreamServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A server whose every path has something to say."""
    logged = "log: {path: logs}\ntelemetry: {prometheus: true}"
    claude = {"kind": "anthropic", "rung": "max_tokens: 99, "}
    ladders = {
        "ok": ladder(upstream, "ok", "ok", "no-logprobs", more=logged),
        "tools": ladder(upstream, "tools", "tool-calls"),
        "claude": ladder(upstream, "claude", "anthropic", **claude),
        "streams": ladder(upstream, "streams", "stream"),
        "broken": ladder(upstream, "broken", "server-error"),
    }
    with serving(tmp_path_factory.mktemp("asked"), ladders, "--quiet") as running:
        yield running


load_all_checks()
CHECKS = schemathesis.checks.CHECKS.get_by_names(
    [
        # 500 is no documented status; 502 to 504 are, of upstreams that fail.
        *("status_code_conformance", "content_type_conformance", "response_schema_conformance"),
        *("negative_data_rejection", "unsupported_method"),
    ]
)
(REFUSES,) = schemathesis.checks.CHECKS.get_by_names(["negative_data_rejection"])
"""Not asked of headers that nobody knows: any request may have some."""

schema = schemathesis.openapi.from_dict(DOCUMENT)


@schema.parametrize()
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_path_keeps_to_the_document(asked: Serving, case: schemathesis.Case) -> None:
    """What fits is answered or refused in the shape that is stated; what does not fit is refused."""
    _aim(case)
    unknown = any(name.lower().startswith("x-schemathesis") for name in case.headers or ())
    checks = [check for check in CHECKS if not (unknown and check is REFUSES)]
    case.call_and_validate(base_url=asked.url, checks=checks)


def _aim(case: schemathesis.Case) -> None:
    """Name a model that is served, and ask something: else few bodies would reach a ladder."""
    body, meta = case.body, case.meta
    if not isinstance(body, dict) or not isinstance(body.get("model"), str) or not body["model"]:
        return
    count = len(body["model"])
    body["model"] = SERVED[count % len(SERVED)]
    if meta is not None and meta.generation.mode.is_positive and count % 3:
        body["messages"] = [{"role": "user", "content": "Which is heavier?"}]
        body.pop("prompt", None)


def test_the_document_is_served_as_it_is(asked: Serving) -> None:
    """Whoever asks."""
    answer = asked.get("/openapi.json", headers={"host": "elsewhere.example"})
    assert (answer.status_code, answer.json()) == (200, DOCUMENT)


def test_every_path_is_in_the_document(asked: Serving) -> None:
    """And every status of it on docs/server.md."""
    text = (ROOT / "cascade" / "server" / "app.py").read_text()
    paths = {p.replace(":path", "") for p in re.findall(r'route\("([^"]+)"', text)}
    assert set(DOCUMENT["paths"]) == paths
    page = (ROOT / "docs" / "server.md").read_text()
    stated = {s for p in DOCUMENT["paths"].values() for o in p.values() for s in o["responses"]}
    rows = [line.split("|")[1] for line in page.splitlines() if re.match(r"\| \d{3}", line)]
    assert stated - {"200"} <= {status for row in rows for status in re.findall(r"\d+", row)}
    assert "500" not in stated


def test_the_document_is_made_of_the_tables_that_bodies_are_checked_by() -> None:
    """Field by field, options as headers too."""
    schemas = DOCUMENT["components"]["schemas"]
    for kind in (ChatFields, MessageFields, FeedbackFields, Options):
        assert set(schemas[kind.__name__]["properties"]) == set(kind.__struct_fields__)
    parameters = DOCUMENT["paths"]["/v1/messages"]["post"]["parameters"]
    headers = {f"x-cascade-{name.replace('_', '-')}" for name in Options.__struct_fields__}
    assert {parameter["name"] for parameter in parameters} == headers
