"""What each path answers: bodies, headers, and what reaches the upstream."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from cascade.labels import labels_of
from tests.upstream_server import UpstreamServer

from .serving import Serving, chat, until

TOOL = {
    "type": "function",
    "function": {"name": "weigh", "parameters": {"type": "object", "properties": {}}},
}


def test_a_chat_completion_says_who_answered_and_how_it_came_about(server: Serving) -> None:
    """The body in OpenAI's shape, the object `cascade`, and the same as headers."""
    answer = server.post("/v1/chat/completions", chat("cascade/ok"))
    body = answer.json()
    assert answer.status_code == 200
    assert body["choices"][0]["message"] == {
        "role": "assistant",
        "content": "lead",
        "refusal": None,
    }
    assert (body["object"], body["model"]) == ("chat.completion", "ok-0")
    assert body["usage"] == {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
    told = body["cascade"]
    assert body["id"] == f"chatcmpl-{told['id']}"
    assert (told["rung"], told["cache"]) == (0, None)
    assert told["cost_usd"] == pytest.approx(0.009)
    assert [a["verdict"] for a in told["attempts"]] == ["accepted"]
    headers = answer.headers
    assert headers["x-cascade-id"] == told["id"]
    assert float(headers["x-cascade-confidence"]) == pytest.approx(told["confidence"])
    assert float(headers["x-cascade-cost-usd"]) == pytest.approx(0.009)
    assert (headers["x-cascade-rung"], headers["x-cascade-attempts"]) == ("0", "1")
    assert headers["x-cascade-cache"] == "miss"


def test_fields_the_ladder_has_no_use_for_reach_the_upstream(
    server: Serving, upstream: UpstreamServer
) -> None:
    """As they are; what concerns the ladder does not."""
    fields = {
        "frequency_penalty": 0.5,
        "logit_bias": {"50256": -100},
        "user": "u1",
        "tools": [TOOL],
        "tool_choice": "auto",
        "parallel_tool_calls": False,
        "stop": ["\n"],
        "seed": 7,
        "temperature": 0.1,
        "max_completion_tokens": 64,
        "reasoning_effort": "low",
    }
    ours = {"n": 1, "stream": False, "stream_options": None, "metadata": {"a": "b"}}
    options = {"cascade": {"min_confidence": 0.1, "session": "s"}}
    body = chat("cascade/ok", "every field", **fields, **ours, **options)
    assert server.post("/v1/chat/completions", body).status_code == 200
    sent = upstream.seen("ok")[-1]["body"]
    assert {name: sent[name] for name in fields} == fields
    assert not {"cascade", "n", "metadata", "max_tokens", "session", "stream"} & set(sent)
    assert sent["model"] == "ok-0"


def test_options_come_in_headers_too_and_the_body_wins(server: Serving) -> None:
    """An answer that is not sure enough is asked of the next rung."""
    asked = {"x-cascade-min-confidence": "0.99"}
    answer = server.post("/v1/chat/completions", chat("cascade/ok"), headers=asked)
    assert len(answer.json()["cascade"]["attempts"]) == 2
    assert answer.headers["x-cascade-degraded"] == "true"
    body = chat("cascade/ok", cascade={"min_confidence": 0.1})
    assert (
        len(server.post("/v1/chat/completions", body, headers=asked).json()["cascade"]["attempts"])
        == 1
    )


def test_log_probabilities_are_those_of_the_provider(server: Serving) -> None:
    """With as many alternatives as were asked for; without being asked for there are none."""
    body = chat("cascade/ok", logprobs=True, top_logprobs=1)
    found = server.post("/v1/chat/completions", body).json()["choices"][0]["logprobs"]
    assert [token["token"] for token in found["content"]] == ["le", "ad"]
    assert [len(token["top_logprobs"]) for token in found["content"]] == [1, 1]
    plain = server.post("/v1/chat/completions", chat("cascade/ok")).json()
    assert plain["choices"][0]["logprobs"] is None


def test_tool_calls_come_as_the_provider_sent_them(server: Serving) -> None:
    """In OpenAI's shape, and as blocks in Anthropic's."""
    body = chat("cascade/tools", tools=[TOOL])
    message = server.post("/v1/chat/completions", body).json()["choices"][0]["message"]
    assert message["tool_calls"][0]["function"] == {
        "name": "weigh",
        "arguments": '{"metal": "lead"}',
    }
    tools = [{"name": "weigh", "input_schema": {"type": "object", "properties": {}}}]
    body = chat("cascade/tools", tools=tools, max_tokens=50)
    blocks = server.post("/v1/messages", body).json()["content"]
    assert blocks == [
        {"type": "tool_use", "id": "call_1", "name": "weigh", "input": {"metal": "lead"}}
    ]


def test_a_message_has_anthropics_shape(server: Serving, upstream: UpstreamServer) -> None:
    """And is put into OpenAI's words for an upstream that speaks those."""
    body = {
        "model": "cascade/ok",
        "max_tokens": 64,
        "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {"role": "user", "content": "Which?"},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "x"},
                    {"type": "text", "text": "I look."},
                    {"type": "tool_use", "id": "t1", "name": "weigh", "input": {"a": 1}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "t1", "content": "11 g"},
                    {"type": "text", "text": "So?"},
                    {
                        "type": "image",
                        "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"},
                    },
                ],
            },
        ],
        "stop_sequences": ["END"],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
        "tools": [{"name": "weigh", "description": "d", "input_schema": {"type": "object"}}],
    }
    answer = server.post("/v1/messages", body)
    message = answer.json()
    assert answer.status_code == 200, message
    assert (message["type"], message["role"], message["model"]) == ("message", "assistant", "ok-0")
    assert message["content"] == [{"type": "text", "text": "lead"}]
    assert message["stop_reason"] == "end_turn"
    assert (message["usage"]["input_tokens"], message["usage"]["output_tokens"]) == (7, 2)
    assert message["id"] == f"msg_{message['cascade']['id']}"
    sent = upstream.seen("ok")[-1]["body"]
    assert sent["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Which?"},
        {
            "role": "assistant",
            "content": "I look.",
            "tool_calls": [
                {
                    "id": "t1",
                    "type": "function",
                    "function": {"name": "weigh", "arguments": '{"a":1}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "t1", "content": "11 g"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "So?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
            ],
        },
    ]
    assert (sent["stop"], sent["tool_choice"], sent["max_tokens"]) == (["END"], "required", 64)
    assert sent["parallel_tool_calls"] is False
    assert sent["tools"][0]["function"]["parameters"] == {"type": "object"}


def test_a_message_reaches_an_anthropic_upstream_as_it_was(
    server: Serving, upstream: UpstreamServer
) -> None:
    """Marks for prompt caching, thinking and tools included."""
    mark = {"cache_control": {"type": "ephemeral"}}
    body = {
        "max_tokens": 64,
        "system": [{"type": "text", "text": "Be brief.", **mark}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Which?", **mark}]}],
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "tools": [{"name": "weigh", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "auto"},
        "top_k": 5,
    }
    answer = server.post("/v1/messages", {"model": "cascade/claude", **body})
    assert answer.json()["content"] == [{"type": "text", "text": "lead"}]
    assert upstream.seen("anthropic")[-1]["body"] == {"model": "claude-0", **body}


def test_models_are_ladders_and_rungs(server: Serving) -> None:
    """Each with its own entry, which both SDKs can read."""
    listed = server.get("/v1/models").json()
    names = [entry["id"] for entry in listed["data"]]
    assert names[:3] == ["cascade/ok", "ok-0", "ok-1"]
    assert server.get("/v1/models/cascade/ok").json() == listed["data"][0]
    assert server.get("/v1/models/cascade/nothing").status_code == 404


def test_the_first_ladder_is_the_default(server: Serving) -> None:
    """Under the name `cascade/default`."""
    body = server.post("/v1/chat/completions", chat("cascade/default")).json()
    assert body["model"] == "ok-0"


def test_a_single_rung_answers_by_its_name(server: Serving) -> None:
    """However sure it is, and no other is asked."""
    body = server.post("/v1/chat/completions", chat("ok-1")).json()
    assert (body["model"], len(body["cascade"]["attempts"])) == ("ok-1", 1)
    assert "degraded" not in body["cascade"]


def test_the_same_request_comes_from_the_cache(server: Serving) -> None:
    """And says whose answer it was."""
    body = chat("cascade/cached", "asked twice")
    first = server.post("/v1/chat/completions", body).json()
    second = server.post("/v1/chat/completions", body)
    assert second.headers["x-cascade-cache"] == "exact"
    assert second.json()["cascade"]["cache"]["id"] == first["cascade"]["id"]
    assert second.json()["cascade"]["cost_usd"] == 0.0
    fresh = server.post("/v1/chat/completions", body, headers={"x-cascade-cache": "off"})
    assert fresh.headers["x-cascade-cache"] == "miss"


def test_feedback_is_a_label_beside_the_log(server: Serving) -> None:
    """By the id of the answer, in any of its forms; a later one replaces it."""
    answer = server.post("/v1/chat/completions", chat("cascade/ok")).json()
    said = {"id": answer["id"], "score": 0, "ladder": "cascade/ok"}
    assert server.post("/v1/feedback", said).json() == {"id": answer["cascade"]["id"], "score": 0.0}
    said = {"id": answer["cascade"]["id"], "score": True, "ladder": "ok", "model": "ok-0"}
    assert server.post("/v1/feedback", said).status_code == 200
    labels = labels_of(server.folder / "logs")
    assert labels[answer["cascade"]["id"], None] == 0.0
    assert labels[answer["cascade"]["id"], "ok-0"] == 1.0


def test_liveness_and_readiness(server: Serving) -> None:
    """One says that the process runs, the other that it takes asks."""
    assert server.get("/healthz").json() == {"status": "ok"}
    ready = server.get("/readyz")
    assert (ready.status_code, ready.json()["status"]) == (200, "ready")
    assert "ok" in ready.json()["ladders"]


def test_every_request_is_a_line_in_the_log(server: Serving) -> None:
    """With the id that its caller gave it, and no word of the prompt."""
    named = {"x-request-id": "my-request-1"}
    answer = server.post("/v1/chat/completions", chat("cascade/ok", "SECRET-WORDS"), headers=named)
    assert answer.headers["x-request-id"] == "my-request-1"
    found = until(
        lambda: [e for e in server.events("request") if e["request_id"] == "my-request-1"]
    )
    assert found[0]["status"] == 200
    assert found[0]["ask_id"] == answer.headers["x-cascade-id"]
    assert "SECRET" not in json.dumps(server.log)


def test_a_client_that_goes_away_takes_its_upstream_call_along(
    server: Serving, upstream: UpstreamServer
) -> None:
    """The connection to the upstream is closed at once."""
    body = json.dumps(chat("cascade/waiting"))
    url = f"{server.url}/v1/chat/completions"
    client = subprocess.Popen(["curl", "-s", url, "-d", body], stdout=subprocess.DEVNULL)
    until(lambda: upstream.open_connections("hang"))
    client.kill()
    client.wait()
    assert upstream.wait_until_closed("hang")
    assert until(lambda: [e for e in server.events("request") if e["status"] == 499])


def test_curl_needs_nothing_but_a_body(server: Serving, tmp_path: Path) -> None:
    """Not even a content type."""
    url = f"{server.url}/v1/chat/completions"
    body = json.dumps(chat("cascade/ok"))
    done = subprocess.run(["curl", "-s", url, "-d", body], capture_output=True, check=True)
    assert json.loads(done.stdout)["choices"][0]["message"]["content"] == "lead"
