"""Every mistake in a ladder file, and what is said about it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from cascade.config import LadderConfig, load_ladder_file, parse_ladder
from cascade.errors import LadderError, Problem

GOOD = """\
version: 1
name: good
providers:
  p: {kind: openai, base_url: "http://127.0.0.1:1/v1"}
  a: {kind: anthropic, api_key: k}
ladder:
  - {model: small, provider: p, accept: 0.8}
  - {model: large, provider: p}
"""


def problems_of(text: str | bytes, env: Mapping[str, str] | None = None) -> tuple[Problem, ...]:
    """Return the mistakes in `text`; fails when there are none."""
    with pytest.raises(LadderError) as caught:
        parse_ladder(text, file="ladder.yaml", env=env or {})
    return caught.value.problems


def with_line(line: int, text: str) -> str:
    """Return the good ladder with one line replaced."""
    lines = GOOD.splitlines()
    lines[line - 1] = text
    return "\n".join(lines)


RUNG = "  - {model: small, provider: p, %s}"
PROVIDER = "  p: {kind: openai, %s}"
PROBABILITY = "a number in [0, 1], or nothing"

# id: (text, key path, line, part of the message, part of what is allowed)
BAD: dict[str, tuple[str, str, int | None, str, str]] = {
    # one value
    "threshold_above_one": (with_line(7, RUNG % "accept: 1.7"), "ladder[0].accept", 7, "1.7 is out of range", PROBABILITY),
    "threshold_negative": (with_line(7, RUNG % "accept: -0.1"), "ladder[0].accept", 7, "-0.1", PROBABILITY),
    "threshold_nan": (with_line(7, RUNG % "accept: .nan"), "ladder[0].accept", 7, ".nan is not a finite", PROBABILITY),
    "threshold_inf": (with_line(7, RUNG % "accept: -.inf"), "ladder[0].accept", 7, "-.inf", PROBABILITY),
    "threshold_as_text": (with_line(7, RUNG % 'accept: "0.8"'), "ladder[0].accept", 7, "'0.8' is text", PROBABILITY),
    "threshold_as_bool": (with_line(7, RUNG % "accept: true"), "ladder[0].accept", 7, "true is true or false", PROBABILITY),
    "threshold_as_list": (with_line(7, RUNG % "accept: [1]"), "ladder[0].accept", 7, "a list", PROBABILITY),
    "threshold_huge": (with_line(7, RUNG % f"accept: {'9' * 5000}"), "ladder[0].accept", 7, "too many digits", "64 bits"),
    "unknown_misspelt": (with_line(7, RUNG % "accept: 0.5, unknown: acept"), "ladder[0].unknown", 7, "did you mean 'accept'", "accept or escalate"),
    "max_tokens_zero": (with_line(8, RUNG % "max_tokens: 0"), "ladder[1].max_tokens", 8, "0 is out of range", "a whole number >= 1"),
    "max_tokens_fraction": (with_line(8, RUNG % "max_tokens: 1.5"), "ladder[1].max_tokens", 8, "1.5", "a whole number >= 1"),
    "top_logprobs_21": (with_line(8, RUNG % "top_logprobs: 21"), "ladder[1].top_logprobs", 8, "21", "[0, 20]"),
    "price_negative": (with_line(8, RUNG % "price: {input: -1, output: 1}"), "ladder[1].price.input", 8, "-1", "a number >= 0"),
    "price_infinite": (with_line(8, RUNG % "price: {input: .inf, output: 1}"), "ladder[1].price.input", 8, ".inf", "a number >= 0"),
    "price_half": (with_line(8, RUNG % "price: {input: 1}"), "ladder[1].price.output", 8, "is missing", "a number >= 0"),
    "price_misspelt": (with_line(8, RUNG % "price: {input: 1, output: 1, cache_input: 1}"), "ladder[1].price.cache_input", 8, "did you mean 'cached_input'", "cached_input"),
    "model_missing": (with_line(8, "  - {provider: p}"), "ladder[1].model", 8, "is missing", "text"),
    "model_empty": (with_line(8, '  - {model: "", provider: p}'), "ladder[1].model", 8, "is empty", "text"),
    "model_number": (with_line(8, "  - {model: 4, provider: p}"), "ladder[1].model", 8, "4 is a number", "text"),
    "rung_is_text": (with_line(8, "  - large"), "ladder[1]", 8, "text given", "a mapping"),
    "key_misspelt": (with_line(8, RUNG % "acept: 0.5"), "ladder[1].acept", 8, "did you mean 'accept'", "accept"),
    "top_key_misspelt": (GOOD + "polcy: x\n", "polcy", 9, "did you mean 'policy'", "policy"),
    "version_two": (with_line(1, "version: 2"), "version", 1, "2 is not one of", "1"),
    "name_null": (with_line(2, "name:"), "name", 2, "null", "text"),
    "on_all_rejected": (GOOD + "on_all_rejected: maybe\n", "on_all_rejected", 9, "'maybe'", "return or raise"),
    "metadata_list": (GOOD + "metadata: [1]\n", "metadata", 9, "a list given", "a mapping"),
    "metadata_nan": (GOOD + "metadata: {a: [.nan]}\n", "metadata.a[0]", 9, "no place in JSON", "finite"),
    # providers
    "kind_unknown": (with_line(4, "  p: {kind: opnai}"), "providers.p.kind", 4, "did you mean 'openai'", "recorded"),
    "kind_missing": (with_line(4, "  p: {base_url: x}"), "providers.p", 4, "`kind` is missing", "openai"),
    "kind_null": (with_line(4, "  p: {kind: }"), "providers.p.kind", 4, "null", "openai"),
    "provider_text": (with_line(4, "  p: sk-secret"), "providers.p", 4, "text given", "openai"),
    "base_url": (with_line(4, PROVIDER % "base_url: localhost"), "providers.p.base_url", 4, "not a web address", "http://"),
    "base_url_port": (with_line(4, PROVIDER % 'base_url: "http://a:x/"'), "providers.p.base_url", 4, "not a web address", "http://"),
    "base_url_query": (with_line(4, PROVIDER % 'base_url: "http://a/?k=1"'), "providers.p.base_url", 4, "query", "http://"),
    "timeout_zero": (with_line(4, PROVIDER % "timeout_s: 0"), "providers.p.timeout_s", 4, "0 is out of range", "a number > 0"),
    "connections": (with_line(4, PROVIDER % "max_connections: 0"), "providers.p.max_connections", 4, "0", ">= 1"),
    "logprobs_word": (with_line(4, PROVIDER % "logprobs: yes"), "providers.p.logprobs", 4, "'yes' is text", "true or false"),
    "header_name": (with_line(4, PROVIDER % 'headers: {"a b": c}'), 'providers.p.headers["a…"]', 4, "HTTP header", "hyphens"),
    "header_value": (with_line(4, PROVIDER % 'headers: {a: "x\\ny"}'), "providers.p.headers.a", 4, "line break", "ASCII"),
    "header_number": (with_line(4, PROVIDER % "headers: {a: 1}"), "providers.p.headers.a", 4, "a number given", "ASCII"),
    "key_with_newline": (with_line(4, PROVIDER % 'api_key: "k\\n"'), "providers.p.api_key", 4, "line break", "text"),
    "recorded_missing": (with_line(4, "  p: {kind: recorded, path: no-such.jsonl}"), "providers.p.path", 4, "'no-such.jsonl' does not exist", "jsonl.gz"),
    "recorded_folder": (with_line(4, "  p: {kind: recorded, path: .}"), "providers.p.path", 4, "is not a file", "jsonl.gz"),
    "recorded_no_path": (with_line(4, "  p: {kind: recorded}"), "providers.p.path", 4, "is missing", "text"),
    "providers_empty": ("providers: {}\nladder: [{model: m, provider: p}]", "providers", 1, "is empty", "a mapping"),
    "providers_missing": ("ladder: [{model: m, provider: p}]", "providers", 1, "is missing", "a mapping"),
    "anthropic_version": (with_line(5, '  a: {kind: anthropic, version: "1\\n"}'), "providers.a.version", 5, "", "date"),
    # the ladder as a whole
    "ladder_missing": ("providers: {p: {kind: openai}}", "ladder", 1, "is missing", "a list"),
    "ladder_empty": ("providers: {p: {kind: openai}}\nladder: []", "ladder", 2, "is empty", "a list"),
    "policy_two_weights": (GOOD + "policy: {kind: agreement, models: [small, large]}\n", "policy.models", 9, "2 given", "3 models"),
    "policy_no_models": (GOOD + "policy: {kind: agreement, models: []}\n", "policy.models", 9, "is empty", "3 models"),
    "name_long": (with_line(2, f"name: {'x' * 201}"), "name", 2, "is longer than 200 characters", "text"),
    "ladder_mapping": ("providers: {p: {kind: openai}}\nladder: {}", "ladder", 2, "a mapping given", "a list"),
    "provider_unknown": (with_line(8, "  - {model: large, provider: pp}"), "ladder[1].provider", 8, "'pp' is not under `providers` (did you mean 'p'?)", "p, a"),
    "rung_twice": (with_line(8, "  - {model: small, provider: p}"), "ladder[1]", 8, "already ladder[0]", "once"),
    "never_accepted": (with_line(7, "  - {model: small, provider: p}"), "ladder[0]", 7, "could never be accepted", "`accept` set, or `unknown: accept`"),
    "no_way_to_score_none": (GOOD + "scorer: {kind: none}\n", "ladder[0].accept", 7, "`scorer` is `none`", "another scorer"),
    "no_way_to_score_anthropic": (with_line(8, "  - {model: c, provider: a, max_tokens: 9, accept: 0.5}"), "ladder[1].accept", 8, "Anthropic's API gives none", "a scorer of your own"),
    "no_way_to_score_off": (with_line(4, PROVIDER % "logprobs: false"), "ladder[0].accept", 7, "`logprobs: false`", "`logprobs: true`"),
    "no_way_to_score_policy": (
        with_line(7, RUNG % "unknown: accept") + "\nscorer: {kind: none}\npolicy: {accept: {small: 0.5}}\n",
        "policy.accept.small", 10, "no way to score", "another scorer",
    ),
    "anthropic_limit": (with_line(8, "  - {model: c, provider: a}"), "ladder[1].max_tokens", 8, "Anthropic's API demands", ">= 1"),
    "request_model": (with_line(8, RUNG.replace("small", "x") % "request: {model: y}"), "ladder[1].request.model", 8, "set by the engine", "other fields"),
    "request_nan": (with_line(8, RUNG.replace("small", "x") % "request: {y: .nan}"), "ladder[1].request.y", 8, "no place in JSON", "finite"),
    # scorer, policy, gates, log
    "scorer_kind": (GOOD + "scorer: {kind: logprb}\n", "scorer.kind", 9, "did you mean 'logprob'", "package.module:Name"),
    "scorer_import": (GOOD + 'scorer: {kind: "a b:C"}\n', "scorer.kind", 9, "does not name something to import", "package.module:Name"),
    "scorer_measure": (GOOD + "scorer: {kind: logprob, measure: meen}\n", "scorer.measure", 9, "did you mean 'mean'", "quantile_10"),
    "scorer_text": (GOOD + "scorer: logprob\n", "scorer", 9, "text given", "a mapping with `kind`"),
    "scorer_options_nan": (GOOD + 'scorer: {kind: "a:B", options: {x: .nan}}\n', "scorer.options.x", 9, "no place in JSON", "finite"),
    "policy_file_missing": (GOOD + "policy: no-such.yaml\n", "policy", 9, "'no-such.yaml' cannot be read: No such file", "a policy file"),
    "policy_kind": (GOOD + "policy: {kind: treshold}\n", "policy.kind", 9, "did you mean 'thresholds'", "thresholds"),
    "policy_number": (GOOD + "policy: 3\n", "policy", 9, "a number given", "policy file"),
    "policy_threshold": (GOOD + "policy: {accept: {small: 2}}\n", "policy.accept.small", 9, "2 is out of range", "[0, 1]"),
    "policy_model": (GOOD + "policy: {accept: {smal: 0.5}}\n", "policy.accept.smal", 9, "no rung has this model (did you mean 'small'?)", "models"),
    "gate_name": (GOOD + "gates: [not_empy]\n", "gates[0]", 9, "did you mean 'not_empty'", "schema"),
    "gate_regex": (GOOD + "gates: [{regex: '('}]\n", "gates[0].regex", 9, "is not a regular expression", "of Python"),
    "gate_python": (GOOD + "gates: [{python: foo}]\n", "gates[0].python", 9, "does not name something", "package.module:Name"),
    "gate_other": (GOOD + "gates: [{rgex: x}]\n", "gates[0]", 9, "neither `regex` nor `python`", "{regex: pattern}"),
    "gate_number": (GOOD + "gates: [3]\n", "gates[0]", 9, "3 is no gate", "{regex: pattern}"),
    "gates_text": (GOOD + "gates: schema\n", "gates", 9, "text given", "a list"),
    "log_path_missing": (GOOD + "log: {text: true}\n", "log.path", 9, "is missing", "text"),
    "log_flush": (GOOD + "log: {path: x, flush_s: 0}\n", "log.flush_s", 9, "0", "a number > 0"),
    "log_wait": (GOOD + "log: {path: x, max_wait_s: -1}\n", "log.max_wait_s", 9, "-1", "a number >= 0"),
    "log_is_text": (GOOD + "log: logs/\n", "log", 9, "text given", "a mapping, or nothing"),
    "log_is_a_file": (GOOD + f"log: {{path: '{__file__}'}}\n", "log.path", 9, "is no folder", "a folder"),
    # variables
    "variable_unset": (with_line(4, PROVIDER % 'api_key: "${NO_KEY}"'), "providers.p.api_key", 4, "NO_KEY is not set", "${NO_KEY:-default}"),
    "variable_malformed": (with_line(4, PROVIDER % 'api_key: "${NO KEY}"'), "providers.p.api_key", 4, "does not begin a variable", "$${"),
    "variable_open": (with_line(2, 'name: "${A"'), "name", 2, "does not begin a variable", "${NAME}"),
    "variable_as_number": (with_line(7, RUNG % 'accept: "${X:-0.5}"'), "ladder[0].accept", 7, "'0.5' is text", PROBABILITY),
    # YAML
    "tag_own": (with_line(2, "name: !mine x"), "name", 2, "a tag is not allowed", "quotes"),
    "tag": (with_line(2, "name: !!python/object/apply:os.system [x]"), "name", 2, "!!python/object", "without tags"),
    "tag_str": (with_line(2, "name: !!str 5"), "name", 2, "!!str", "without tags"),
    "key_twice": (GOOD + "name: again\n", "name", 9, "already on line 2", "once"),
    "key_number": (GOOD + "1: x\n", "", 9, "not text", "quotes"),
    "key_list": (GOOD + "[a]: x\n", "", 9, "not text", "quotes"),
    "merge_key": (GOOD + "metadata:\n  <<: {a: 1}\n", "metadata", 10, "merge keys", "written out"),
    "alias_unknown": (GOOD + "metadata: *x\n", "metadata", 9, "refers to no anchor", ""),
    "alias_to_itself": (GOOD + "metadata: &x {a: *x}\n", "metadata.a", 9, "what it is part of", ""),
    "syntax": (GOOD + "log: {a\n", "", 10, "not YAML", ""),
    "tab": (GOOD + "\tx: 1\n", "", 9, "not YAML", ""),
    "escape": ('name: "\\U99999999"', "", None, "not YAML", ""),
    "two_documents": (GOOD + "---\nx: 1\n", "", 9, "second document", "one document"),
    "empty": ("", "", 1, "the file is empty", "a mapping"),
    "comment_only": ("# nothing\n", "", 1, "the file is empty", "a mapping"),
    "top_list": ("- a\n", "", 1, "a list", "a mapping"),
    "top_text": ("hello\n", "", 1, "a single value", "a mapping"),
    "nul": ("name: a\nx: \x00\n", "", 2, "U+0000", "printable"),
    "nul_escaped": (with_line(2, 'name: "a\\0"'), "name", 2, "NUL", "whole characters"),
    "surrogate": ("a: \ud800\n", "", 1, "U+D800", "printable"),
    "surrogate_escaped": (with_line(2, 'name: "\\ud800"'), "name", 2, "surrogate", "whole characters"),
    "too_large": ("#" * 1_000_001, "", None, "too large", "1,000,000"),
    "too_deep": ("a: " + "[" * 5000, "", 1, "nested too deep", "64"),
    "too_many": ("a: [" + "1," * 30_000 + "1]", "", 1, "too many values", "20,000"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_every_mistake_is_named_with_place_and_remedy(name: str) -> None:
    """A mistake has file, key path, line, what was given and what is allowed."""
    text, path, line, message, allowed = BAD[name]
    found = problems_of(text)
    hits = [p for p in found if p.path == path and message in p.message]
    assert hits, [str(p) for p in found]
    assert hits[0].line == line
    assert hits[0].file == "ladder.yaml"
    assert allowed in (hits[0].allowed or "")


def test_the_good_ladder_is_good() -> None:
    """The text that every bad one is made from has no mistakes."""
    assert isinstance(parse_ladder(GOOD, env={}), LadderConfig)


def test_all_mistakes_are_reported_at_once_in_the_order_of_the_file() -> None:
    """Mistakes of YAML, of variables, of types and of fit do not hide each other."""
    text = """\
nam: x
providers:
  p: {kind: openai, api_key: "${NOPE}", timeout_s: "5"}
  q: {kind: opnai}
ladder:
  - {model: a, provider: pp, accept: 1.7}
  - {model: b, provider: q}
  - {model: b, provider: q, acept: 1}
nam: y
"""
    found = [(p.line, p.path) for p in problems_of(text)]
    assert found == [
        (1, "nam"),
        (3, "providers.p.api_key"),
        (3, "providers.p.timeout_s"),
        (4, "providers.q.kind"),
        (6, "ladder[0].accept"),
        (6, "ladder[0].provider"),
        (7, "ladder[1]"),
        (8, "ladder[2].acept"),
        (8, "ladder[2]"),
        (9, "nam"),
    ]


FOLLOWING = {
    "rungs_broken": (
        "providers: {p: {kind: openai}}\nladder:\n  - {model: m, provider: p, accept: 2}\n",
        [(3, "ladder[0].accept")],
    ),
    "list_items_broken": (
        GOOD + "policy: {kind: chain, models: [3], accept: []}\n",
        [(9, "policy.models[0]")],
    ),
    "nul_in_text": (with_line(2, 'name: "a\\0b"'), [(2, "name")]),
    "half_a_pair_in_an_address": (with_line(4, PROVIDER % 'base_url: "\\ud800"'), [(4, "providers.p.base_url")]),
    "too_many_digits": (with_line(8, RUNG % f"max_tokens: {'9' * 40}").replace("small", "x", 1), [(8, "ladder[1].max_tokens")]),
    "alias_unknown": (with_line(2, "name: *nowhere"), [(2, "name")]),
    "merge_key_in_a_rung": (with_line(7, "  - {<<: {accept: 0.5}, model: small, provider: p}"), [(7, "ladder[0]")]),
    "merge_key_in_a_provider": (with_line(4, "  p: {<<: {kind: openai}}"), [(4, "providers.p")]),
    "merge_key_with_the_model": (with_line(7, "  - {<<: {model: small}, provider: p, accept: 0.5}"), [(7, "ladder[0]")]),
}  # fmt: skip


@pytest.mark.parametrize("name", FOLLOWING)
def test_a_mistake_brings_no_false_ones_with_it(name: str) -> None:
    """What only follows from a mistake that is told already is not told."""
    text, places = FOLLOWING[name]
    assert [(p.line, p.path) for p in problems_of(text)] == places


def test_a_variable_that_is_missing_hides_no_other_mistake_and_causes_none() -> None:
    """Only the missing variable is reported at its place, not what follows from the gap."""
    text = GOOD.replace('"http://127.0.0.1:1/v1"', '"${URL}"').replace("0.8", "8")
    assert [p.path for p in problems_of(text)] == ["providers.p.base_url", "ladder[0].accept"]


def test_an_empty_variable_is_as_good_as_none() -> None:
    """A secret that is set to nothing is refused too, and said to be empty."""
    text = with_line(4, PROVIDER % 'api_key: "${KEY}"')
    assert "KEY is empty" in problems_of(text, {"KEY": ""})[0].message


def test_thousands_of_mistakes_are_cut_to_a_readable_number() -> None:
    """A file of nothing but mistakes is not searched to the end."""
    text = GOOD + "".join(f"  - {{model: m, provider: p{i}, x: 1}}\n" for i in range(2000))
    found = problems_of(text)
    assert len(found) == 101
    assert "more mistakes" in found[-1].message


def test_a_policy_of_ones_own_may_accept_rungs_without_thresholds() -> None:
    """Whether a rung can be accepted is then that policy's business."""
    text = (
        with_line(7, "  - {model: small, provider: p}") + '\npolicy: {kind: "my.module:Policy"}\n'
    )
    assert parse_ladder(text, env={}).policy.kind == "my.module:Policy"


def test_an_anthropic_rung_takes_its_limit_from_the_request_fields_too() -> None:
    """`request: {max_tokens: …}` is a limit as well."""
    text = with_line(8, "  - {model: c, provider: a, request: {max_tokens: 5}}")
    assert parse_ladder(text, env={}).ladder[1].request == {"max_tokens": 5}


def test_a_missing_policy_file_does_not_make_rungs_unreachable(tmp_path: Path) -> None:
    """What the file would have said is unknown, so nothing is concluded from its absence."""
    text = with_line(7, "  - {model: small, provider: p}") + "\npolicy: none.yaml\n"
    assert [p.path for p in problems_of(text)] == ["policy"]


def test_mistakes_in_a_policy_file_name_that_file_and_its_lines(tmp_path: Path) -> None:
    """The policy file is a file of its own, with lines of its own."""
    (tmp_path / "tuned.yaml").write_text("kind: thresholds\naccept:\n  smal: 0.5\nx: 1\n")
    ladder = tmp_path / "ladder.yaml"
    ladder.write_text(GOOD + "policy: tuned.yaml\nnam: x\n")
    with pytest.raises(LadderError) as caught:
        load_ladder_file(ladder, {})
    found = [(Path(p.file or "").name, p.line, p.path) for p in caught.value.problems]
    assert found == [
        ("ladder.yaml", 10, "nam"),
        ("tuned.yaml", 3, "accept.smal"),
        ("tuned.yaml", 4, "x"),
    ]


@pytest.mark.parametrize("name", ["none.yaml", ".", "a\x00b"])
def test_a_file_that_cannot_be_read_is_a_mistake(tmp_path: Path, name: str) -> None:
    """A missing file, a folder and an impossible name give the same kind of error."""
    with pytest.raises(LadderError, match="cannot be read"):
        load_ladder_file(tmp_path / name, {})


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"name: a\nx: \xff\n", "byte 0xff is not UTF-8"), (GOOD.encode("utf-16"), "is not UTF-8")],
    ids=["latin", "utf-16"],
)
def test_bytes_that_are_not_utf8_are_a_mistake(data: bytes, message: str) -> None:
    """Other encodings are refused, with the byte that shows it."""
    assert message in problems_of(data)[0].message


def test_a_byte_order_mark_is_harmless() -> None:
    """Editors on Windows write one."""
    assert parse_ladder(b"\xef\xbb\xbf" + GOOD.encode(), env={}).name == "good"
