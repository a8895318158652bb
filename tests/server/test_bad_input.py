"""Whatever comes in: the documented status in the API's own shape, and never a 500."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .serving import Serving, chat

CHAT, MESSAGES, FEEDBACK = "/v1/chat/completions", "/v1/messages", "/v1/feedback"


def raw(server: Serving, data: bytes, *, wait_s: float = 30.0) -> bytes:
    """Send bytes over a connection of their own and return all that comes back until it closes."""
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=wait_s) as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(data)
        received = b""
        while True:
            try:
                piece = connection.recv(65_536)
            except ConnectionResetError:
                return received
            if not piece:
                return received
            received += piece


def check_openai(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (status, code), error
    assert set(error) == {"message", "type", "param", "code"}
    assert answer.headers["x-request-id"]
    return dict(error)


BAD = {
    "invalid JSON": (b'{"model": "cascade/ok", ', "not JSON"),
    "no body": (b"", "empty"),
    "bad UTF-8": (
        b'{"model": "cascade/ok", "messages": [{"role":"user","content":"\xff\xfe"}]}',
        "not UTF-8 at byte 63",
    ),
    "lone surrogate": (
        b'{"model": "cascade/ok", "messages": [{"role":"user","content":"\\ud800"}]}',
        "",
    ),
    "no object": (b"[1, 2]", "object"),
    "nested too deep": (b'{"model":' + b"[" * 100_000, ""),
    "NaN": (b'{"model": "cascade/ok", "temperature": NaN}', "not JSON"),
    "no model": ({"messages": [{"role": "user", "content": "x"}]}, "model: missing"),
    "model of the wrong kind": ({"model": 5}, "model: int given"),
    "neither messages nor prompt": ({"model": "cascade/ok"}, "messages: missing"),
    "both": (chat("cascade/ok", prompt="x"), "prompt: given beside"),
    "messages are text": ({"model": "cascade/ok", "messages": "hi"}, "messages: str given"),
    "messages are empty": ({"model": "cascade/ok", "messages": []}, "messages: empty"),
    "a message is text": ({"model": "cascade/ok", "messages": ["hi"]}, "messages[0]"),
    "an unknown role": (
        {"model": "cascade/ok", "messages": [{"role": "king", "content": "x"}]},
        "messages[0].role",
    ),
    "tool calls are a number": (
        {"model": "claude-0", "messages": [{"role": "assistant", "content": "x", "tool_calls": 5}]},
        "tool_calls",
    ),
    "temperature is text": (chat("cascade/ok", temperature="hot"), "temperature"),
    "max_tokens is negative": (chat("cascade/ok", max_tokens=-1), "max_tokens"),
    "max_completion_tokens is text": (
        chat("cascade/ok", max_completion_tokens="9"),
        "max_completion_tokens",
    ),
    "n is 0": (chat("cascade/ok", n=0), "n: allowed: a whole number >= 1"),
    "n is 17": (chat("cascade/ok", n=17), "n: allowed: a whole number <= 16"),
    "n is true": (chat("cascade/ok", n=True), "n: bool given; allowed: a whole number"),
    "stream is text": (chat("cascade/ok", stream="yes"), "stream"),
    "logprobs is a number": (chat("cascade/ok", logprobs=3), "logprobs"),
    "top_logprobs is 99": (chat("cascade/ok", logprobs=True, top_logprobs=99), "top_logprobs"),
    "top_logprobs alone": (chat("cascade/ok", top_logprobs=2), "top_logprobs"),
    "tools are an object": (chat("cascade/ok", tools={"a": 1}), "tools"),
    "a tool without a name": (
        chat("cascade/ok", tools=[{"type": "function", "function": {"name": []}}]),
        "tools[0].function.name",
    ),
    "a schema that is none": (
        chat(
            "cascade/ok",
            response_format={"type": "json_schema", "json_schema": {"schema": {"type": 7}}},
        ),
        "response_format",
    ),
    "tool_choice is a list": (
        chat("claude-0", tools=[], tool_choice=[1], parallel_tool_calls=False),
        "tool_choice",
    ),
    "tool_choice is empty": (
        chat("claude-0", tools=[{"name": "x"}], tool_choice={}, parallel_tool_calls=False),
        "tool_choice",
    ),
    "metadata is text": (chat("cascade/ok", metadata="x"), "metadata"),
    "a tenant of one's own": (chat("cascade/ok", tenant="other"), "tenant: not a field"),
    "an option as a field": (chat("cascade/ok", max_cost_usd=1), "max_cost_usd: not a field"),
    "self": (chat("cascade/ok", self=1), "self"),
    "options are a list": (chat("cascade/ok", cascade=[]), "cascade: array given"),
    "an unknown option": (chat("cascade/ok", cascade={"tenant": "x"}), "cascade.tenant"),
    "an option of the wrong kind": (
        chat("cascade/ok", cascade={"deadline_s": "soon"}),
        "cascade.deadline_s",
    ),
    "an option out of range": (chat("cascade/ok", cascade={"min_confidence": 2}), "min_confidence"),
}


@pytest.mark.parametrize(("body", "words"), BAD.values(), ids=BAD.keys())
def test_a_bad_body_is_refused_with_its_place(server: Serving, body: Any, words: str) -> None:
    """As a 400, with words that say what is allowed."""
    error = check_openai(server.post(CHAT, body), 400, "invalid_request")
    assert words in error["message"]
    assert error["type"] == "invalid_request_error"


BAD_MESSAGES = {
    "no messages": {"model": "cascade/ok"},
    "a system role": {"model": "cascade/ok", "messages": [{"role": "system", "content": "x"}]},
    "content is a number": {"model": "cascade/ok", "messages": [{"role": "user", "content": 5}]},
    "a block without a type": {
        "model": "cascade/ok",
        "messages": [{"role": "user", "content": [{"text": "x"}]}],
    },
    "a block of no counterpart": {
        "model": "cascade/ok",
        "messages": [{"role": "user", "content": [{"type": "document", "source": {}}]}],
    },
    "a tool of Anthropic's own": {
        "model": "cascade/ok",
        "messages": [{"role": "user", "content": "x"}],
        "tools": [{"type": "web_search_20250305", "name": "web_search"}],
    },
    "a tool choice without a type": {
        "model": "cascade/claude",
        "messages": [{"role": "user", "content": "x"}],
        "tools": [{"name": "x"}],
        "tool_choice": {},
        "parallel_tool_calls": False,
    },
    "a field that is an option": {
        "model": "cascade/claude",
        "messages": [{"role": "user", "content": "x"}],
        "prompt": "y",
    },
    "a server of tools": {
        "model": "cascade/ok",
        "messages": [{"role": "user", "content": "x"}],
        "mcp_servers": [{"type": "url", "url": "http://x"}],
    },
    "a schema that is none": {
        "model": "cascade/ok",
        "messages": [{"role": "user", "content": "x"}],
        "output_config": {"format": {"type": "json_schema"}},
    },
    "an unknown tool choice": {
        "model": "cascade/ok",
        "messages": [{"role": "user", "content": "x"}],
        "tool_choice": "any",
    },
}


@pytest.mark.parametrize("body", BAD_MESSAGES.values(), ids=BAD_MESSAGES.keys())
def test_a_bad_message_is_refused_in_anthropics_shape(server: Serving, body: Any) -> None:
    """With the request's id, as their SDK reads it."""
    answer = server.post(MESSAGES, body)
    told = answer.json()
    assert (answer.status_code, told["type"]) == (400, "error")
    assert told["error"]["type"] == "invalid_request_error"
    assert told["request_id"] == answer.headers["request-id"]


BAD_HEADERS = {
    "an unknown option": {"x-cascade-tenant": "other"},
    "a number that is none": {"x-cascade-deadline-s": "soon"},
    "out of range": {"x-cascade-min-confidence": "7"},
    "null": {"x-cascade-min-confidence": "null"},
    "an unknown use of the cache": {"x-cascade-cache": "maybe"},
}


@pytest.mark.parametrize("headers", BAD_HEADERS.values(), ids=BAD_HEADERS.keys())
def test_a_bad_option_in_a_header_is_refused(server: Serving, headers: dict[str, str]) -> None:
    """Unknown ones too: a slip of the pen would change nothing and nobody would know."""
    check_openai(server.post(CHAT, chat("cascade/ok"), headers=headers), 400, "invalid_request")


@pytest.mark.parametrize("model", ["cascade/nothing", "gpt-9", "cascade/", "ok"])
def test_an_unknown_model_is_not_found(server: Serving, model: str) -> None:
    """The message says which there are."""
    error = check_openai(server.post(CHAT, chat(model)), 404, "model_not_found")
    assert "cascade/ok" in error["message"]
    assert error["param"] == "model"


def test_unknown_paths_and_methods(server: Serving) -> None:
    """Are answered in the same shape."""
    check_openai(server.get("/v1/completions"), 404, "not_found")
    check_openai(server.get(CHAT), 405, "method_not_allowed")
    assert server.get(MESSAGES).json()["type"] == "error"


def test_a_body_of_100_megabytes_is_refused(server: Serving) -> None:
    """Its sender reads why, whether it says the length beforehand or not."""
    body = b'{"x": "' + b"a" * 100_000_000 + b'"}'
    check_openai(server.post(CHAT, body), 413, "body_too_large")

    def pieces() -> Any:
        for i in range(0, 20_000_000, 1_000_000):
            yield body[i : i + 1_000_000]

    answer = httpx.post(f"{server.url}{CHAT}", content=pieces(), timeout=20, trust_env=False)
    check_openai(answer, 413, "body_too_large")
    assert server.post(CHAT, chat("cascade/ok")).status_code == 200


def test_a_compressed_body_is_refused(server: Serving) -> None:
    """What it unpacks to is not bounded by its size."""
    answer = server.post(CHAT, b"\x1f\x8b", headers={"content-encoding": "gzip"})
    check_openai(answer, 415, "compressed_body")


def test_a_head_that_is_too_large_is_refused(server: Serving) -> None:
    """Many headers, one long one, and one that never ends."""
    start = b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\n"
    many = b"".join(b"h%d: x\r\n" % i for i in range(300))
    for head in (many + b"\r\n", b"h: " + b"x" * 70_000 + b"\r\n\r\n", b"h: " + b"x" * 200_000):
        answer = raw(server, start + head)
        assert answer.startswith(b"HTTP/1.1 431 "), answer
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "head_too_large"
    answer = raw(server, b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize(
    "data", [b"SSH-2.0-x\r\n\r\n", b"\x16\x03\x01\x00\xa5\x01\x00", b"GET \xff HTTP/1.1\r\n\r\n"]
)
def test_what_is_no_http_is_refused(server: Serving, data: bytes) -> None:
    """In the same shape, and the connection is closed."""
    answer = raw(server, data)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "bad_http"


BUSY_S = 8.0
"""Most that a server with a second for each may take on a busy machine; those it is built with are longer."""

SLOW = {
    "half a head": b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\n",
    "half a body": b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\n"
    b'content-length: 100\r\n\r\n{"model": ',
}


@pytest.mark.parametrize("data", SLOW.values(), ids=SLOW.keys())
def test_who_sends_no_further_is_sent_away(server: Serving, data: bytes) -> None:
    """After the time that is set, a second here, with a 408."""
    began = time.monotonic()
    answer = raw(server, data)
    assert 0.8 < time.monotonic() - began < BUSY_S
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] in (
        "head_timeout",
        "body_timeout",
    )


def test_who_sends_nothing_at_all_is_sent_away_without_a_word(server: Serving) -> None:
    """It would be taken for an answer to what is sent next."""
    began = time.monotonic()
    assert raw(server, b"") == b""
    assert 0.8 < time.monotonic() - began < BUSY_S


@pytest.mark.parametrize("first", [b"", b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"])
def test_a_head_or_body_in_crumbs_gets_no_more_time(server: Serving, first: bytes) -> None:
    """However busy it looks, after an answered request on the connection too."""
    host, port = server.url.removeprefix("http://").split(":")
    for head in (b"GET /healthz HTTP/1.1\r\nx: ", b"\r\n\r\n"):
        began = time.monotonic()
        with socket.create_connection((host, int(port)), timeout=BUSY_S) as connection:
            connection.sendall(first)
            received = b"" if not first else connection.recv(65_536)
            connection.sendall(head[:4])
            try:
                while time.monotonic() - began < BUSY_S:
                    time.sleep(0.1)
                    connection.sendall(b"\r\n" if head == b"\r\n\r\n" else b"a")
                    connection.settimeout(0.01)
                    try:
                        received = connection.recv(65_536)
                    except TimeoutError:
                        continue
                    break
            except (BrokenPipeError, ConnectionResetError):
                pass
        assert time.monotonic() - began < BUSY_S, received


def test_pages_from_elsewhere_cannot_use_a_server_without_keys(server: Serving) -> None:
    """Neither by a request across origins nor by a name of their own for this machine."""
    for headers in ({"origin": "https://evil.example"}, {"host": "evil.example"}):
        check_openai(server.post(CHAT, chat("cascade/ok"), headers=headers), 403, "not_local")
    local = {"origin": "http://localhost:3000"}
    assert server.post(CHAT, chat("cascade/ok"), headers=local).status_code == 200


FAILURES = {
    "broken": (502, "upstream_failed"),
    "refusing": (400, "upstream_refused"),
    "busy": (503, "upstream_busy"),
    "hanging": (504, "deadline_exceeded"),
    "spent": (429, "budget_exceeded"),
}


@pytest.mark.parametrize(("name", "told"), FAILURES.items(), ids=FAILURES.keys())
def test_a_failed_ask_has_its_status(server: Serving, name: str, told: tuple[int, str]) -> None:
    """In both shapes, with what it has cost, and nothing of what the upstream said."""
    for path in (CHAT, MESSAGES):
        answer = server.post(path, chat(f"cascade/{name}", "SECRET-WORDS", max_tokens=99))
        assert answer.status_code == told[0], answer.text
        assert "SECRET" not in answer.text
        assert "Traceback" not in answer.text
        assert answer.headers["x-cascade-id"] == answer.json()["cascade"]["id"]
    check_openai(server.post(CHAT, chat(f"cascade/{name}")), *told)


def test_errors_say_when_to_ask_again_where_it_is_known(server: Serving) -> None:
    """An upstream's pause, and the next period of a budget, for which no SDK is to wait."""
    busy = server.post(CHAT, chat("cascade/busy"))
    assert busy.headers["retry-after"] == "2"
    bodies = [chat("cascade/spent", f"number {i}", max_tokens=2) for i in range(3)]
    spent = [server.post(CHAT, body) for body in bodies][-1]
    assert spent.status_code == 429
    assert 0 < int(spent.headers["retry-after"]) <= 86_400
    assert spent.headers["x-should-retry"] == "false"


BAD_FEEDBACK = {
    "no id": {"score": 1},
    "no score": {"id": "x"},
    "a score above 1": {"id": "x", "score": 2},
    "a score of text": {"id": "x", "score": "good"},
    "an id with a line end": {"id": "x\n", "score": 1, "ladder": "ok"},
    "a model that is none": {"id": "x", "score": 1, "model": 5},
    "no ladder of several": {"id": "x", "score": 1},
    "an unknown field": {"id": "x", "score": 1, "tenant": "a"},
}


@pytest.mark.parametrize("body", BAD_FEEDBACK.values(), ids=BAD_FEEDBACK.keys())
def test_bad_feedback_is_refused(server: Serving, body: Any) -> None:
    """As a 400 that names the field."""
    check_openai(server.post(FEEDBACK, body), 400, "invalid_request")


def test_feedback_for_what_keeps_no_log_is_refused(server: Serving) -> None:
    """There is nothing to label."""
    said = {"id": "x", "score": 1, "ladder": "broken"}
    check_openai(server.post(FEEDBACK, said), 400, "no_log")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
FIELDS = (
    *("messages", "prompt", "tools", "tool_choice", "response_format", "temperature", "max_tokens"),
    *("stop", "seed", "metadata", "n", "logprobs", "top_logprobs", "parallel_tool_calls", "user"),
    *("functions", "system", "stop_sequences", "thinking", "cascade", "stream", "store"),
)
MESSAGE = st.fixed_dictionaries(
    {},
    optional={
        "role": st.sampled_from(["user", "assistant", "tool", "system"]) | JSON,
        "content": JSON
        | st.lists(
            st.fixed_dictionaries(
                {
                    "type": st.sampled_from(
                        ["text", "image", "image_url", "tool_use", "tool_result"]
                    )
                    | JSON
                },
                optional=dict.fromkeys(
                    ("text", "source", "image_url", "id", "name", "input"), JSON
                ),
            ),
            max_size=3,
        ),
        "tool_calls": JSON | st.lists(st.fixed_dictionaries({"function": JSON, "id": JSON})),
        "tool_call_id": JSON,
    },
)
BODY = st.fixed_dictionaries(
    {"model": st.sampled_from(["cascade/ok", "cascade/claude", "cascade/tools"])},
    optional=dict.fromkeys(FIELDS, JSON) | {"messages": st.lists(MESSAGE, max_size=3) | JSON},
)


@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(body=BODY, path=st.sampled_from([CHAT, MESSAGES, FEEDBACK]))
def test_no_body_makes_the_server_fail(server: Serving, body: Any, path: str) -> None:
    """Bodies of every shape, with fields of every kind."""
    answer = CLIENT.post(f"{server.url}{path}", content=json.dumps(body).encode())
    assert answer.status_code < 500, (body, answer.text)


CLIENT = httpx.Client(trust_env=False, timeout=20)
