"""The OpenAI format: what is sent, and what is made of what comes back."""

from __future__ import annotations

import contextlib
import json
import math
import pickle
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade.errors import (
    BadResponse,
    ContentRefused,
    ContextTooLong,
    ProviderError,
    ProviderTimeout,
    RateLimited,
    RequestError,
    RequestRefused,
    ServerFailed,
    Unauthorized,
)
from cascade.types import Answer, Message, ModelCall, Request, TokenLogprobs, Usage
from cascade.wire.openai import allowed_top_logprobs, decode_response, encode_request
from cascade.wire.rate_limits import MAX_PAUSE_S
from cascade.wire.status import error_from_status
from tests.upstream_server import completion

USED_UP = {"X-RateLimit-Remaining-Tokens": "0", "X-RateLimit-Reset-Tokens": "2s"}
NOW = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)


def call(
    content: Any = "hello", *, extra: dict[str, Any] | None = None, **request: Any
) -> ModelCall:
    messages = (Message(role="user", content=content),)
    request.setdefault("messages", messages)
    return ModelCall(model="m", request=Request(**request), extra=extra or {})


def sent(model_call: ModelCall, *, logprobs: bool = False, **options: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(encode_request(model_call, logprobs=logprobs, **options))
    return found


def read(body: Any) -> Answer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return decode_response(raw, provider="p", model="m")


def with_choice(**choice: Any) -> dict[str, Any]:
    return {"choices": [{"message": {"content": "x"}, **choice}]}


def with_usage(**usage: Any) -> Usage:
    return read({**with_choice(), "usage": usage}).usage


def with_logprobs(content: Any) -> TokenLogprobs | None:
    answer = read(with_choice(logprobs={"content": content}))
    assert answer.text == "x"
    return answer.logprobs


class TestEncode:
    def test_sends_no_more_than_was_asked(self) -> None:
        """A plain prompt is a model and a message: no output limit of our own, no sampling."""
        assert sent(call()) == {"model": "m", "messages": [{"role": "user", "content": "hello"}]}

    def test_sends_every_field_of_the_request(self) -> None:
        """Tools, format and sampling pass through as they are."""
        fields: dict[str, Any] = {
            "tools": [{"type": "function", "function": {"name": "f"}}],
            "response_format": {"type": "json_object"},
            "temperature": 0.0,
            "max_tokens": 5,
            "stop": ["a"],
            "seed": 7,
        }
        body = sent(call(**fields, extra={"seed": 1, "top_k": 4}))
        assert {name: body[name] for name in fields} == fields
        assert body["top_k"] == 4

    def test_the_requests_extra_fields_win_over_the_rungs(self) -> None:
        """What the caller of one ask says is more specific than the ladder."""
        model_call = ModelCall(
            model="m",
            request=Request(messages=call().request.messages, extra={"top_p": 0.5, "model": "no"}),
            extra={"top_p": 0.9, "top_k": 3},
        )
        body = sent(model_call)
        assert (body["top_p"], body["top_k"], body["model"]) == (0.5, 3, "m")

    @pytest.mark.parametrize(
        ("rung_limit", "request_limit", "extra", "expected"),
        [
            (None, None, {}, {}),
            (10, None, {}, {"max_tokens": 10}),
            (10, 20, {}, {"max_tokens": 20}),
            (10, None, {"max_tokens": 30}, {"max_tokens": 30}),
            (10, 20, {"max_tokens": 30}, {"max_tokens": 20}),
            (10, None, {"max_completion_tokens": 30}, {"max_completion_tokens": 30}),
            (10, 20, {"max_completion_tokens": 30}, {"max_completion_tokens": 20}),
        ],
    )
    def test_output_limit(
        self,
        rung_limit: int | None,
        request_limit: int | None,
        extra: dict[str, Any],
        expected: dict[str, Any],
    ) -> None:
        """The request's limit wins, under the name that the rung prefers."""
        model_call = ModelCall(
            model="m",
            request=call(max_tokens=request_limit).request,
            max_tokens=rung_limit,
            extra=extra,
        )
        body = sent(model_call)
        assert {k: v for k, v in body.items() if k.startswith("max_")} == expected

    def test_asks_for_logprobs(self) -> None:
        """Log-probabilities are asked for with the alternatives wanted, or with fewer."""
        assert sent(call(), logprobs=True)["top_logprobs"] == 5
        fewer = sent(call(), logprobs=True, top_logprobs=2)
        assert (fewer["logprobs"], fewer["top_logprobs"]) == (True, 2)
        assert "top_logprobs" not in sent(call(), logprobs=True, top_logprobs=0)
        assert sent(call(extra={"logprobs": False}), logprobs=True)["logprobs"] is False

    def test_message_fields_pass_through(self) -> None:
        """Parts, names and tool calls arrive as given, whatever mapping class holds them."""
        parts = ({"type": "image_url", "image_url": MappingProxyType({"url": "data:,"})},)
        message = Message(role="user", content=parts, extra={"name": "n"})
        assert sent(call(messages=(message,)))["messages"] == [
            {
                "name": "n",
                "role": "user",
                "content": [{"type": "image_url", "image_url": {"url": "data:,"}}],
            }
        ]

    def test_nul_is_escaped(self) -> None:
        """A NUL is text like any other."""
        assert sent(call("a\0b"))["messages"][0]["content"] == "a\0b"

    @pytest.mark.parametrize(
        ("model_call", "place"),
        [
            (call("secret\ud800"), r"messages\[0\]\.content: .* character 6 "),
            (
                call([{"type": "text", "text": "\udfff"}]),
                r"messages\[0\]\.content\[0\]\.text: .* 0 ",
            ),
            (call(stop=["a", "secret\ud800"]), r"stop\[1\]: .* character 6 "),
            (call(extra={"x\ud800": 1}), r"a key of the request: .* character 1 "),
        ],
    )
    def test_lone_surrogates_are_refused(self, model_call: ModelCall, place: str) -> None:
        """They cannot be UTF-8; the error names the place, never the text."""
        with pytest.raises(RequestError, match=place) as caught:
            encode_request(model_call, logprobs=True)
        assert "secret" not in str(caught.value)
        assert caught.value.__cause__ is None

    @pytest.mark.parametrize(
        "model_call",
        [
            call(temperature=float("nan")),
            call(extra={"x": object()}),
            call(extra={"stream": True}),
        ],
    )
    def test_refuses_what_cannot_be_sent(self, model_call: ModelCall) -> None:
        """NaN, strange objects and streaming are mistakes of the caller."""
        with pytest.raises(RequestError):
            encode_request(model_call, logprobs=True)


class TestDecode:
    def test_reads_an_answer(self) -> None:
        """Text, reason, usage and log-probabilities, alternatives best first."""
        assert read(completion("lead")) == Answer(
            text="lead",
            model="served-model",
            finish_reason="stop",
            usage=Usage(prompt_tokens=7, completion_tokens=2),
            logprobs=TokenLogprobs(
                tokens=["le", "ad"], logprobs=[-0.1, -0.2], top=[[-0.1, -2.5], [-0.2, -1.75]]
            ),
        )

    def test_reads_tool_calls_without_text(self) -> None:
        """`content: null` with tool calls is no text, and the calls untouched."""
        calls = [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{"}}]
        answer = read(completion(None, tool_calls=calls))
        assert (answer.text, answer.tool_calls) == (None, calls)

    def test_joins_content_parts(self) -> None:
        """Text parts are joined, other parts (thinking) left out."""
        parts = [
            {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
            {"type": "text", "text": "le"},
            {"type": "text", "text": "ad"},
        ]
        assert read({"choices": [{"message": {"content": parts}}]}).text == "lead"

    def test_reads_a_refusal(self) -> None:
        """The provider's own refusal is kept apart from the text."""
        assert read(completion(None, refusal="I cannot")).refusal == "I cannot"

    def test_keeps_the_body_only_when_asked(self) -> None:
        """Raw bodies are large: they are kept on request."""
        body = json.dumps(completion()).encode()
        assert read(body).raw is None
        assert decode_response(body, provider="p", model="m", keep_raw=True).raw == body

    @pytest.mark.parametrize(
        ("given", "expected"),
        [
            ({}, Usage()),
            ({"prompt_tokens": 5, "completion_tokens": None}, Usage(prompt_tokens=5)),
            (
                {
                    "prompt_tokens": 10,
                    "completion_tokens": 4,
                    "total_tokens": 14,
                    "prompt_tokens_details": {"cached_tokens": 8},
                    "completion_tokens_details": {"reasoning_tokens": 3},
                },
                Usage(prompt_tokens=10, completion_tokens=4, cached_tokens=8, reasoning_tokens=3),
            ),
            (
                {"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 50},
                Usage(prompt_tokens=10, completion_tokens=40),
            ),
            (
                {"prompt_tokens": 10, "completion_tokens": 4, "prompt_cache_hit_tokens": 6},
                Usage(prompt_tokens=10, completion_tokens=4, cached_tokens=6),
            ),
            ({"prompt_tokens": -1, "completion_tokens": 2}, Usage()),
            ({"prompt_tokens": "many"}, Usage()),
        ],
        ids=["none", "half", "details", "reasoning-outside", "deepseek", "negative", "text"],
    )
    def test_usage(self, given: dict[str, Any], expected: Usage) -> None:
        """Counts as the provider gives them; hidden reasoning is output; nonsense is absent."""
        assert with_usage(**given) == expected

    def test_missing_usage_is_unknown(self) -> None:
        """No usage is None, not zero."""
        assert read(with_choice()).usage == Usage()
        assert read({**with_choice(), "usage": "free"}).usage == Usage()

    @pytest.mark.parametrize(
        "content",
        [
            None,
            [],
            "tokens",
            [{"token": "a"}],
            [{"token": "a", "logprob": -1}, {"token": "b", "logprob": None}],
            [{"token": "a", "logprob": 0.5}],
            [{"token": "a", "logprob": -1}, {"token": "b", "logprob": 3.0}],
        ],
        ids=["null", "empty", "text", "lacking", "partial", "positive", "one-positive"],
    )
    def test_broken_logprobs_are_absent(self, content: Any) -> None:
        """Log-probabilities are all or nothing, and the answer stands without them."""
        assert with_logprobs(content) is None

    @pytest.mark.parametrize("number", [b"NaN", b"-Infinity", b"1e999", b"-1e999"])
    def test_numbers_that_are_none_make_logprobs_absent(self, number: bytes) -> None:
        """Servers written in Python send NaN, which is not JSON: the text is still read."""
        body = json.dumps(with_choice(logprobs={"content": [{"token": "a", "logprob": 77}]}))
        answer = read(body.encode().replace(b"77", number))
        assert (answer.text, answer.logprobs) == ("x", None)

    def test_rounding_noise_above_zero_is_zero(self) -> None:
        """1e-7 above zero is how float32 says 0."""
        found = with_logprobs(
            [
                {
                    "token": "a",
                    "logprob": 1e-7,
                    "top_logprobs": [{"logprob": 1e-7}, {"logprob": -9.0}],
                }
            ]
        )
        assert found == TokenLogprobs(tokens=["a"], logprobs=[0.0], top=[[0.0, -9.0]])

    def test_sentinels_are_kept(self) -> None:
        """OpenAI's -9999 is passed on as the provider reports it."""
        found = with_logprobs([{"token": "a", "logprob": -9999.0, "top_logprobs": []}])
        assert found == TokenLogprobs(tokens=["a"], logprobs=[-9999.0], top=None)

    def test_alternatives_are_sorted(self) -> None:
        """Best first, whatever the server's order."""
        top = [{"logprob": -3.0}, {"logprob": -1.0}]
        found = with_logprobs([{"token": "a", "logprob": -1.0, "top_logprobs": top}])
        assert found is not None
        assert found.top == [[-1.0, -3.0]]

    def test_broken_alternatives_are_absent(self) -> None:
        """Positive alternatives make alternatives absent, not the chosen tokens."""
        top = [{"logprob": 2.0}]
        found = with_logprobs([{"token": "a", "logprob": -1.0, "top_logprobs": top}])
        assert found == TokenLogprobs(tokens=["a"], logprobs=[-1.0], top=None)

    def test_lone_surrogates_of_a_server_are_replaced(self) -> None:
        """A token cut inside a character must not make the answer unreadable, or unwritable."""
        answer = read(json.dumps(completion("a\udce2b")).encode())
        assert answer.text == "a?b"

    def test_fields_of_the_wrong_kind_are_absent(self) -> None:
        """What can be read is read."""
        answer = read(
            {
                "model": 5,
                "choices": [
                    {
                        "message": {"content": "x", "tool_calls": "no", "refusal": 1},
                        "finish_reason": 3,
                    }
                ],
            }
        )
        assert answer == Answer(text="x", model="m")

    @pytest.mark.parametrize(
        ("body", "words"),
        [
            (b"", "not JSON"),
            (b"<html>SECRET</html>", "not JSON"),
            (b'{"choices": [{"message": {"content": "SECR', "not JSON"),
            (b"[" * 100_000, "not JSON"),
            (b"null", "not a completion"),
            (b'"SECRET"', "not a completion"),
            (b"{}", "not a completion"),
            (b'{"choices": []}', "choices is empty"),
            (b'{"choices": "SECRET"}', "not a completion"),
            (b'{"choices": [{}]}', "not a completion"),
            (b'{"choices": [{"message": {"content": 5}}]}', "not a completion"),
            (b'{"error": "SECRET"}', "an error instead of choices"),
        ],
    )
    def test_what_is_no_completion_is_bad_response(self, body: bytes, words: str) -> None:
        """The error says what was wrong and quotes nothing; the body is kept beside it."""
        with pytest.raises(BadResponse, match=words) as caught:
            read(body)
        assert "SECR" not in str(caught.value)
        assert caught.value.body == body.decode()[:2000]

    def test_an_error_under_status_200_is_that_error(self) -> None:
        """OpenRouter reports upstream failures so."""
        with pytest.raises(RateLimited):
            read({"error": {"code": 429, "message": "slow"}})

    @given(st.binary())
    def test_any_bytes_give_an_answer_or_bad_response(self, body: bytes) -> None:
        """Nothing else ever leaves."""
        with contextlib.suppress(BadResponse):
            decode_response(body, provider="p", model="m")

    @given(
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.text() | st.integers(),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(
                        ["choices", "message", "content", "logprobs", "logprob", "token", "usage",
                         "top_logprobs", "prompt_tokens", "error", "code", "tool_calls", "text"]
                    ),
                    inner,
                    max_size=4,
                )
            ),
            max_leaves=20,
        )
    )  # fmt: skip
    def test_any_json_gives_an_answer_or_an_error(self, body: Any) -> None:
        """Right names in wrong places are no surprise either."""
        for whole in (body, {"choices": [body]}, {"choices": [{"message": {}, "logprobs": body}]}):
            try:
                answer = read(json.dumps(whole).encode())
            except ProviderError:
                continue
            if answer.logprobs is not None:
                assert all(value <= 0 for value in answer.logprobs.logprobs)


class TestErrors:
    @pytest.mark.parametrize(
        ("status", "error", "expected"),
        [
            (400, {"code": "context_length_exceeded"}, ContextTooLong),
            (
                400,
                {"message": "This model's maximum context length is 4096 tokens"},
                ContextTooLong,
            ),
            (400, {"type": "exceed_context_size_error"}, ContextTooLong),
            (400, {"message": "prompt is too long: 210000 tokens > 200000"}, ContextTooLong),
            (413, {"type": "request_too_large"}, ContextTooLong),
            (400, {"code": "content_filter"}, ContentRefused),
            (400, {"code": "content_policy_violation"}, ContentRefused),
            (403, {"message": "flagged by our content policy"}, ContentRefused),
            (400, {"message": "temperature is too high"}, RequestRefused),
            (404, {"code": "model_not_found"}, RequestRefused),
            (401, {"code": "invalid_api_key"}, Unauthorized),
            (403, {}, Unauthorized),
            (408, {}, ProviderTimeout),
            (429, {"code": "rate_limit_exceeded"}, RateLimited),
            (500, {}, ServerFailed),
            (503, {"message": "the context window is loading"}, ServerFailed),
            (529, {"type": "overloaded_error"}, ServerFailed),
            (302, {}, BadResponse),
        ],
    )
    def test_class_by_status_and_words(
        self, status: int, error: dict[str, str], expected: type[ProviderError]
    ) -> None:
        """The status decides, and for refusals what the provider calls it."""
        body = json.dumps({"error": error}).encode()
        found = error_from_status(status, {}, body, provider="p", model="m", now=NOW)
        assert type(found) is expected
        assert found.status == status

    @pytest.mark.parametrize(
        "body",
        [
            b'{"error": {"type": "invalid_request_error", "code": "bad", "message": "SECRET"}}',
            b'[{"error": {"status": "INVALID_ARGUMENT", "code": 400, "message": "SECRET"}}]',
            b'{"error": "SECRET"}',
            b'{"detail": [{"msg": "SECRET words"}]}',
            b'{"error": {"type": "SECRET words", "code": "SECRET words"}}',
            b"<html>SECRET</html>",
            b"\xff\xfe",
            b"",
        ],
    )
    def test_the_upstreams_words_stay_out_of_the_message(self, body: bytes) -> None:
        """Only plain identifiers are repeated; the rest is in `body`, which nobody prints."""
        error = error_from_status(400, {}, body, provider="p", model="m", now=NOW)
        assert "SECRET" not in str(error)
        assert "SECRET" not in repr(error)
        assert error.body == body.decode("utf-8", "replace")

    def test_the_message_names_type_and_code(self) -> None:
        """They are what one searches for."""
        body = b'{"error": {"type": "invalid_request_error", "code": "unsupported_value"}}'
        error = error_from_status(400, {}, body, provider="p", model="m", now=NOW)
        assert str(error) == "p/m: HTTP 400 invalid_request_error/unsupported_value"

    @pytest.mark.parametrize(
        ("headers", "expected"),
        [
            ({}, None),
            ({"Retry-After": "2"}, 2.0),
            ({"retry-after": " 0.5 "}, 0.5),
            ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
            ({"Retry-After": "Sat, 31 Jan 2026 12:00:30 GMT"}, 30.0),
            ({"Retry-After": "Sat, 31 Jan 2026 11:00:00 GMT"}, 0.0),
            (
                {
                    "Retry-After": "Sat, 31 Jan 2026 13:00:30 GMT",
                    "Date": "Sat, 31 Jan 2026 13:00:00 GMT",
                },
                30.0,
            ),
            ({"Retry-After": "-1"}, None),
            ({"Retry-After": "nan"}, None),
            ({"Retry-After": "soon"}, None),
            ({"Retry-After": "1e300"}, MAX_PAUSE_S),
            ({"Retry-After": "Sat, 31 Jan 2099 12:00:30 GMT"}, MAX_PAUSE_S),
            ({"retry-after-ms": "1e300"}, MAX_PAUSE_S),
            ({"Retry-After": "-1", **USED_UP}, 2.0),
            ({"Retry-After": "9", **USED_UP}, 9.0),
        ],
    )
    def test_retry_after(self, headers: dict[str, str], expected: float | None) -> None:
        """Seconds, milliseconds or a date (by the server's clock if it shows it); else unknown."""
        error = error_from_status(429, headers, b"", provider="p", model="m", now=NOW)
        assert error.retry_after_s == expected

    @pytest.mark.parametrize(
        ("status", "words", "asked", "expected"),
        [
            (400, "Requested sample logprobs of 20, which is greater than max allowed: 5", 20, 5),
            (400, "Unknown parameter: 'top_logprobs'.", 5, 0),
            (400, "`logprobs` is not supported with this model", 5, -1),
            (403, "You are not allowed to request logprobs from this model.", 5, -1),
            (400, "logprobs is not supported by gpt-5-mini", 5, -1),
            (400, "Unknown parameter: 'top_logprobs'.", 0, -1),
            (400, "temperature must be at most 2", 5, None),
            (500, "logprobs crashed", 5, None),
        ],
    )
    def test_how_to_ask_again_without_logprobs(
        self, status: int, words: str, asked: int, expected: int | None
    ) -> None:
        """Fewer alternatives if the server says how many, then none, then no log-probabilities."""
        body = json.dumps({"error": {"message": words}}).encode()
        assert allowed_top_logprobs(status, body, asked) == expected


def test_alternatives_are_ordered_when_they_are_looked_at() -> None:
    """Best first, rounding above 0 cut off, tokens without any kept in place; equal to plain lists."""
    tokens = [
        {"token": "a", "logprob": -0.1, "top_logprobs": [{"logprob": -0.1}, {"logprob": 1e-7}]},
        {"token": "b", "logprob": -0.2},
    ]
    top = read(with_choice(logprobs={"content": tokens})).logprobs.top  # type: ignore[union-attr]
    assert top is not None
    assert len(top) == 2
    assert top == [[0.0, -0.1], []]
    assert pickle.loads(pickle.dumps(top)) == top


def test_an_alternative_that_is_no_log_probability_spoils_them_all() -> None:
    """Wherever it stands: nothing is believed of them, and nothing is invented."""
    tokens = [
        {"token": "a", "logprob": -0.1, "top_logprobs": [{"logprob": -0.1}, {"logprob": 0.7}]},
        {"token": "b", "logprob": -0.2, "top_logprobs": [{"logprob": -0.2}]},
    ]
    top = read(with_choice(logprobs={"content": tokens})).logprobs.top  # type: ignore[union-attr]
    assert list(top or []) == [[], []]


def test_text_that_is_not_utf_8_is_no_answer() -> None:
    """Replacement characters would be an answer that nobody gave."""
    with pytest.raises(BadResponse):
        read(b'{"choices": [{"message": {"content": "\xff\xfe"}}]}')


@pytest.mark.parametrize(
    ("extra", "place"),
    [
        ({"foo": math.nan}, "foo: nan"),
        ({"foo": {"bar": [1.0, -math.inf]}}, r"foo.bar\[1\]: -inf"),
    ],
)
def test_a_number_that_json_lacks_is_refused_in_extra_fields_too(
    extra: dict[str, Any], place: str
) -> None:
    """It would be sent as null, which means something else."""
    with pytest.raises(RequestError, match=place):
        sent(call(extra=extra))
