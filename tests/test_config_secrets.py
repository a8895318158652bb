"""No secret in any message, wherever it stands."""

from __future__ import annotations

import traceback

import pytest

from cascade.config import parse_ladder
from cascade.errors import LadderError

SECRET = "sk-verysecret0123"


def with_provider(fields: str) -> str:
    """Return a ladder whose provider has these fields."""
    return f"providers: {{p: {{kind: openai, {fields}}}}}\nladder: [{{model: m, provider: p}}]"


PLACES = {
    "api_key_bad": 'providers: {p: {kind: openai, api_key: "SECRET x"}}\nladder: [{model: m, provider: p}]',
    "api_key_misspelt": 'providers: {p: {kind: openai, apikey: "SECRET"}}\nladder: [{model: m, provider: p}]',
    "api_key_list": "providers: {p: {kind: openai, api_key: [SECRET]}}\nladder: [{model: m, provider: p}]",
    "header": 'providers: {p: {kind: openai, headers: {x: "SECRET\\n"}}}\nladder: [{model: m, provider: p}]',
    "headers_text": "providers: {p: {kind: openai, headers: SECRET}}\nladder: [{model: m, provider: p}]",
    "provider": "providers: {p: SECRET}\nladder: [{model: m, provider: p}]",
    "providers": "providers: SECRET\nladder: [{model: m, provider: p}]",
    "url_password": 'providers: {p: {kind: openai, base_url: "http://u:${S}@h/"}}\nladder: [{model: m, provider: p}]',
    "rung_provider": 'providers: {p: {kind: openai}}\nladder: [{model: m, provider: "${S}"}]',
    "rung_model_twice": 'providers: {p: {kind: openai}}\nladder: [{model: "${S}", provider: p, accept: 0.5}, {model: "${S}", provider: p}]',
    "threshold": 'providers: {p: {kind: openai}}\nladder: [{model: m, provider: p, accept: "${S}"}]',
    "kind": 'providers: {p: {kind: "${S}"}}\nladder: [{model: m, provider: p}]',
    "gate": 'providers: {p: {kind: openai}}\nladder: [{model: m, provider: p}]\ngates: ["${S}"]',
    "regex": 'providers: {p: {kind: openai}}\nladder: [{model: m, provider: p}]\ngates: [{regex: "(?P=${R})"}]',
    "import": 'providers: {p: {kind: openai}}\nladder: [{model: m, provider: p}]\ngates: [{python: "${S}"}]',
    "log": 'providers: {p: {kind: openai}}\nladder: [{model: m, provider: p}]\nlog: "${S}"',
    "policy": 'providers: {p: {kind: openai}}\nladder: [{model: m, provider: p}]\npolicy: "${S}"',
    "recorded": 'providers: {p: {kind: recorded, path: "${S}"}}\nladder: [{model: m, provider: p}]',
    "url_literal_password": with_provider('base_url: "http://user:SECRET@127.0.0.1:9/v1"'),
    "url_query": with_provider('base_url: "http://127.0.0.1:9/v1?key=SECRET"'),
    "url_path": with_provider('base_url: "ftp://127.0.0.1:9/SECRET"'),
    "url_scheme": with_provider('base_url: "ftp://user:SECRET@127.0.0.1:9/v1"'),
    "url_no_scheme": with_provider('base_url: "user:SECRET@127.0.0.1:9/v1"'),
    "url_only_a_key": with_provider("base_url: SECRET"),
    "url_slash_in_password": with_provider('base_url: "http://u:SECRET/x@h:port/"'),
    "url_space_in_password": with_provider('base_url: "http://u:x SECRET@h/"'),
    "url_beside_a_variable": with_provider('base_url: "http://user:SECRET@${H}/v1"'),
    "url_in_a_default": with_provider('base_url: "${H}${NONE:-http://user:SECRET@h}"'),
    "recorded_url": "providers: {p: {kind: recorded, path: 'https://u:SECRET@h/log.jsonl'}}\nladder: [{model: m, provider: p}]",
    "policy_url": with_provider("logprobs: true") + "\npolicy: 'https://u:SECRET@h/p.yaml'",
    "log_number": with_provider("logprobs: 'http://u:SECRET@h'"),
    "no_space_after_the_colon": with_provider("api_key:SECRET"),
    "no_colon": with_provider("api_key SECRET"),
    "header_without_space": with_provider("headers: {Authorization:Bearer SECRET}"),
    "key_begins_with_!": with_provider("api_key: !SECRET x"),
    "key_begins_with_!_twice": with_provider("api_key: !SECRET!x y"),
    "key_begins_with_*": with_provider("api_key: *SECRET"),
    "syntax": "providers: {p: {kind: openai, api_key: SECRET\nladder: ]",
    "own_line": "SECRET\nladder: 1",
}


@pytest.mark.parametrize("name", PLACES)
def test_no_message_holds_a_secret(name: str) -> None:
    """Neither the error, nor its repr, nor the traceback that a log would hold."""
    with pytest.raises(LadderError) as caught:
        parse_ladder(
            PLACES[name].replace("SECRET", SECRET),
            file="l.yaml",
            env={"S": SECRET, "R": SECRET.replace("-", "_"), "H": "no host"},
        )
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert "verysecret" not in shown


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("ftp://user:key@127.0.0.1:9/v1?key=x", "'ftp://…@127.0.0.1:9/…' is not a web address"),
        ("http://user:key@[::1]:9/", "'http://…@[::1]:9/' holds a user name or password"),
        ("http://127.0.0.1:9/v1?key=x", "'http://127.0.0.1:9/…' has a query"),
        ("http://user:ke/y@h:9", "'http://…' is not a web address"),
        ("localhost:8080/v1", "p.base_url: is not a web address: it does not begin with http"),
    ],
)
def test_of_an_address_scheme_and_host_are_shown(address: str, shown: str) -> None:
    """Enough to find it; user names, paths and queries hold keys."""
    with pytest.raises(LadderError) as caught:
        parse_ladder(with_provider(f'base_url: "{address}"'), env={})
    assert shown in str(caught.value)


def test_a_value_from_the_environment_is_shown_as_the_file_has_it() -> None:
    """The reader learns which variable is wrong, not what it holds."""
    with pytest.raises(LadderError, match=r"the value of \$\{S\} is text"):
        parse_ladder(PLACES["threshold"], env={"S": SECRET})


def test_reprs_hold_no_values() -> None:
    """Configurations end up in logs by accident; they show which keys were set, not what to."""
    config = parse_ladder(
        "name: '${S}'\n"
        "providers: {p: {kind: openai, api_key: '${S}', headers: {x: '${S}'}, base_url: 'http://h/${S}'}}\n"
        "ladder: [{model: '${S}', provider: p, request: {user: '${S}'}}]\n"
        "metadata: {k: '${S}'}\n",
        env={"S": SECRET},
    )
    shown = repr(config) + str(config) + repr(config.providers["p"]) + repr(config.ladder)
    assert SECRET not in shown
    assert "api_key" in shown
