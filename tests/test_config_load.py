"""Ladder files that load: values, variables, defaults, paths, and the ladder made of them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import jsonschema_rs
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cascade.config import (
    AnthropicProvider,
    LadderConfig,
    LogprobScorer,
    OpenAIProvider,
    RecordedProvider,
    RegexGate,
    ThresholdPolicy,
    json_schema,
    load_ladder_file,
    parse_ladder,
)
from cascade.config.reference import write_reference
from cascade.config.streams import stream_rule
from cascade.errors import LadderError
from cascade.pricing import Price
from cascade.stream_rules import StreamRule

ROOT = Path(__file__).parent.parent
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))
KEYS = {"OPENAI_API_KEY": "k", "ANTHROPIC_API_KEY": "k"}
SMALLEST = "providers: {p: {kind: openai}}\nladder: [{model: m, provider: p}]\n"


def no_price(model: str, served_at: str) -> Price | None:
    """A catalogue that knows nothing."""
    return None


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.name)
def test_every_committed_ladder_loads(path: Path) -> None:
    """With the keys it needs, each file in configs/ is a ladder."""
    ladder = load_ladder_file(path, KEYS).to_ladder(no_price)
    assert len(ladder.rungs) >= 2


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda p: p.name)
def test_ladders_at_the_top_of_configs_need_no_environment(path: Path) -> None:
    """`cascade check configs/*.yaml` passes in a fresh clone; what needs a key is in configs/hosted."""
    assert isinstance(load_ladder_file(path, {}), LadderConfig)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.name)
def test_committed_ladders_meet_the_schema_that_their_first_line_names(path: Path) -> None:
    """Editors find the schema, and agree with the loader."""
    text = path.read_text()
    first, _, _ = text.partition("\n")
    schema = path.parent / first.removeprefix("# yaml-language-server: $schema=")
    jsonschema_rs.validate(json.loads(schema.read_text()), yaml.safe_load(text))


def test_schema_and_reference_are_those_of_the_code(tmp_path: Path) -> None:
    """Run `python -m cascade.config.reference` when this fails."""
    (tmp_path / "configs").mkdir()
    (tmp_path / "docs").mkdir()
    write_reference(tmp_path)
    for name in ("configs/cascade.schema.json", "docs/configuration.md"):
        assert (ROOT / name).read_text() == (tmp_path / name).read_text()


def test_every_key_has_a_help_text_in_the_schema() -> None:
    """The table of keys is the only place that explains them."""
    schema = json_schema()
    tables = [schema, *(t for t in schema["$defs"].values() if "properties" in t)]
    bare = [
        (table["title"], name)
        for table in tables
        for name, entry in table["properties"].items()
        if not entry.get("description")
    ]
    assert bare == []


def test_the_schema_takes_the_path_of_a_policy_file() -> None:
    """`policy` may be a text, which the models alone do not say."""
    data = yaml.safe_load(SMALLEST) | {"policy": "tuned.yaml"}
    jsonschema_rs.validate(json_schema(), data)


def test_what_is_absent_has_its_default() -> None:
    """Two keys make a ladder."""
    config = parse_ladder(SMALLEST, env={})
    provider = config.providers["p"]
    assert isinstance(provider, OpenAIProvider)
    assert (provider.base_url, provider.api_key) == ("https://api.openai.com/v1", None)
    assert (provider.timeout_s, provider.connect_timeout_s) == (600.0, 10.0)
    assert (provider.max_connections, provider.logprobs) == (1000, True)
    assert (config.version, config.name, config.log) == (1, "ladder", None)
    assert config.scorer == LogprobScorer()
    assert config.policy == ThresholdPolicy()
    assert config.gates == ("not_empty", "not_truncated", "not_refusal", "schema")
    assert config.on_all_rejected == "return"


def test_every_key_is_read() -> None:
    """One file with everything in it."""
    config = parse_ladder(
        """
version: 1
name: all
metadata: {team: support, since: 2024-01-01, on: yes, rate: 1e-3}
providers:
  o: {kind: openai, base_url: "http://h:1/v1/", api_key: "${K}", headers: {X-A: b}, timeout_s: 5, max_connections: 3}
  a: {kind: anthropic, version: 2024-01-01}
ladder:
  - {model: m, provider: o, accept: 1, unknown: accept, price: {input: 1, output: 2.5}, request: {a: {b: [1, null]}}}
  - {model: c, provider: a, max_tokens: 7, top_logprobs: 0, stream: {mode: through}}
scorer: {measure: min}
policy: {accept: {m: 0.25}, provenance: {rows: 7}}
gates: [schema, {regex: '^\\d{3}$', name: digits}, {python: "my.gates:short"}]
on_all_rejected: raise
stream: {mode: early, accept: 0.9, reject: 0.1, min_logprob: -2, checkpoints: [8, 16]}
log: {path: logs, text: true, flush_s: 1, flush_records: 2, max_pending: 3, max_wait_s: 0, segment_mb: 1, segment_age_s: 60}
""",
        env={"K": "key"},
    )
    openai, anthropic = config.providers["o"], config.providers["a"]
    assert isinstance(openai, OpenAIProvider)
    assert isinstance(anthropic, AnthropicProvider)
    assert openai.base_url == "http://h:1/v1"
    assert openai.api_key == "key"
    assert openai.headers == {"X-A": "b"}
    assert anthropic.version == "2024-01-01"
    assert config.metadata == {"team": "support", "since": "2024-01-01", "on": "yes", "rate": 1e-3}
    gate = config.gates[1]
    assert isinstance(gate, RegexGate)
    assert (gate.regex, gate.name) == (r"^\d{3}$", "digits")
    assert config.log is not None
    assert config.log.max_wait_s == 0

    ladder = config.to_ladder(no_price)
    first, second = ladder.rungs
    assert (first.accept, first.unknown, first.price) == (
        0.25,
        "accept",
        Price(input=1, output=2.5),
    )
    assert first.extra == {"a": {"b": [1, None]}}
    assert (second.accept, second.max_tokens, second.top_logprobs) == (None, 7, 0)
    assert (ladder.name, ladder.metadata) == ("all", config.metadata)
    assert config.stream is not None
    assert config.stream.checkpoints == (8, 16)
    assert stream_rule(config.ladder[1].stream, config.stream, None).mode == "through"
    assert stream_rule(config.ladder[0].stream, config.stream, 0.25) == StreamRule(
        mode="early", accept=0.9, reject=0.1, min_logprob=-2.0, checkpoints=(8, 16)
    )


@pytest.mark.parametrize(
    ("stream", "path"),
    [
        ("{mode: early, accept: 0.5, reject: 0.5}", "stream.reject"),
        ("{mode: early, checkpoints: [32, 16]}", "stream.checkpoints"),
        ("{mode: early, checkpoints: []}", "stream.checkpoints"),
        ("{mode: early, min_logprob: 0.5}", "stream.min_logprob"),
        ("{reject: 0.1}", "stream.reject"),
        ("{mode: through}", "stream.mode"),
    ],
)
def test_streams_that_cannot_be_are_told_at_their_key(stream: str, path: str) -> None:
    """Each with the place in the file."""
    with pytest.raises(LadderError) as caught:
        parse_ladder(f"{SMALLEST}\nstream: {stream}\n", env={})
    assert [problem.path for problem in caught.value.problems] == [path]


def test_a_draft_is_not_ended_where_its_whole_would_be_accepted() -> None:
    """The rung's own threshold is looked at where `stream` names none."""
    text = SMALLEST.replace("provider: p}", "provider: p, accept: 0.8}")
    with pytest.raises(LadderError, match=r"stream\.reject: 0\.9 is not below"):
        parse_ladder(text + "stream: {mode: early, reject: 0.9}\n", env={})


def test_prices_not_in_the_file_are_asked_for_by_model_and_address() -> None:
    """The catalogue learns who serves the model; the same name on your own machine is another price."""
    asked = []

    def prices(model: str, served_at: str) -> Price | None:
        asked.append((model, served_at))
        return Price(input=1, output=1)

    text = (
        "providers: {p: {kind: openai, base_url: 'http://h/v1'}, r: {kind: recorded, path: 'X'}}\n"
        "ladder: [{model: m, provider: p, accept: 0.5}, {model: n, provider: r}]\n"
    ).replace("X", __file__)
    ladder = parse_ladder(text, env={}).to_ladder(prices)
    assert asked == [("m", "http://h/v1"), ("n", "recorded")]
    assert ladder.rungs[0].price == Price(input=1, output=1)


def test_paths_start_from_the_folder_of_the_file(tmp_path: Path) -> None:
    """A ladder can be loaded from anywhere."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "log.jsonl").write_text("")
    (tmp_path / "sub" / "tuned.yaml").write_text("accept: {m: 0.5}\nprovenance: {by: tune}\n")
    path = tmp_path / "sub" / "ladder.yaml"
    path.write_text(
        "providers: {p: {kind: recorded, path: log.jsonl}}\nladder: [{model: m, provider: p}]\n"
        "policy: tuned.yaml\nlog: {path: logs}\n"
    )
    config = load_ladder_file(path, {})
    provider = config.providers["p"]
    assert isinstance(provider, RecordedProvider)
    assert Path(provider.path) == tmp_path / "sub" / "log.jsonl"
    assert config.log is not None
    assert Path(config.log.path) == tmp_path / "sub" / "logs"
    assert config.policy == ThresholdPolicy(accept={"m": 0.5}, provenance={"by": "tune"})
    assert config.to_ladder(no_price).rungs[0].accept == 0.5


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("${A}", "x"),
        ("${A}-${B}", "x-y"),
        ("${NONE:-z}", "z"),
        ("${EMPTY:-z}", "z"),
        ("${NONE:-}q", "q"),
        ("$${A}", "${A}"),
        ("$A", "$A"),
        ("${D}", "${A}"),
    ],
)
def test_variables_are_put_in_once(written: str, expected: str) -> None:
    """Values of variables are not searched for variables again."""
    env = {"A": "x", "B": "y", "EMPTY": "", "D": "${A}"}
    assert parse_ladder(f"{SMALLEST}metadata: {{v: '{written}'}}\n", env=env).metadata == {
        "v": expected
    }


@pytest.mark.parametrize("value", ["a\x00b", "a\udcff"], ids=["nul", "not_utf8"])
def test_a_variable_that_is_not_text_is_refused(value: str) -> None:
    """Environments may hold any bytes."""
    with pytest.raises(LadderError, match="the variable A is not text"):
        parse_ladder(SMALLEST + "name: '${A}'\n", env={"A": value})


def test_characters_beyond_16_bits_may_be_escaped_as_json_does() -> None:
    """A file written by a JSON library is a ladder file too."""
    config = parse_ladder(SMALLEST + 'name: "\\ud83d\\ude00"\n', env={})
    assert config.name == "\N{GRINNING FACE}"


def test_an_empty_default_means_no_key() -> None:
    """`${KEY:-}` is how a file says that the key may be missing."""
    text = SMALLEST.replace("openai", "openai, api_key: '${K:-}'")
    assert parse_ladder(text, env={}).providers["p"].api_key is None  # type: ignore[union-attr]


def test_unset_variables_can_be_left_when_only_the_file_is_to_be_checked() -> None:
    """Everything else is still checked."""
    text = (
        SMALLEST.replace("openai", "openai, api_key: '${K}', base_url: '${U}/v1'")
        + "log: {path: '${L}'}\npolicy: '${P}'\n"
    )
    assert isinstance(parse_ladder(text, env={}, allow_unset=True), LadderConfig)
    with pytest.raises(LadderError, match="colour: unknown key"):
        parse_ladder(text + "colour: red\n", env={}, allow_unset=True)


def test_what_cannot_be_checked_without_its_variable_says_so() -> None:
    """A ladder is never half made."""
    text = SMALLEST.replace("kind: openai", "kind: '${KIND}'")
    with pytest.raises(LadderError, match="cannot be checked while its variable is not set"):
        parse_ladder(text, env={}, allow_unset=True)


def test_anchors_and_aliases_are_followed() -> None:
    """They save repeating a mapping."""
    text = (
        "providers: {p: &p {kind: openai}, q: *p}\n"
        "ladder: [{model: m, provider: p, accept: 0.5}, {model: m, provider: q}]\n"
    )
    assert parse_ladder(text, env={}).providers["q"].kind == "openai"


BOMBS = {
    "laughs": "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
    + "".join(f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12)),
    "deep_aliases": "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 5000)),
    "brackets": "[" * 900_000,
    "dashes": "- " * 400_000,
    "braces": "{a: " * 200_000,
    "question_marks": "? " * 400_000,
    "anchors": "a:\n" + "- &a 1\n" * 120_000,
    "aliases": "a: &a 1\nb: [" + "*a," * 200_000 + "]",
    "keys": "".join(f"k{i}: 1\n" for i in range(19_000)),
    "rungs": "providers: {p: {kind: openai}}\nladder: [" + "{model: m, provider: q}," * 3900 + "]",
    "providers": "providers: {"
    + ",".join(f"p{i}: {{kind: x}}" for i in range(2500))
    + "}\nladder: ["
    + ",".join(f"{{model: m, provider: q{i}}}" for i in range(1500))
    + "]",
    "one_line": "a: " + "x " * 490_000,
    "digits": f"version: {'9' * 900_000}",
    "variables": "a: '" + "${A" * 300_000 + "'",
    "documents": "--- 1\n" * 100_000,
}


@pytest.mark.parametrize("name", BOMBS)
def test_hostile_yaml_ends_fast(name: str) -> None:
    """Whatever expands, nests or repeats is refused in seconds, not hours."""
    begun = time.perf_counter()
    with pytest.raises(LadderError):
        parse_ladder(BOMBS[name], env={})
    assert time.perf_counter() - begun < 20  # a slow machine; usually well under 2


_SENTENCE = (
    "providers ladder p kind openai anthropic recorded path model provider accept unknown scorer "
    "policy gates log name metadata request price input options regex python version api_key "
    "headers base_url thresholds logprob none ${A} ${B:-1} $${ true null .nan -1 0.5 1e999 0x1f "
    "!!str &a *a << ~ '' [] {} 99999999999999999999 my.mod:Cls http://h:99999/ ( \\ud800 ---"
)
_WORDS = st.sampled_from(_SENTENCE.split())
_LEAVES = _WORDS | st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
_TREES = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_WORDS, inner, max_size=4),
    max_leaves=25,
)


def loads_or_says_why(text: str | bytes) -> None:
    """Assert that nothing but a ladder or a LadderError comes of `text`."""
    said: LadderError | None = None
    try:
        parse_ladder(text, file="f.yaml", env={"A": "secret-of-a"}).to_ladder(no_price)
    except LadderError as exc:
        said = exc
    assert said is None or said.problems
    assert "secret-of-a" not in str(said)


@settings(max_examples=300, deadline=None)
@given(st.text())
@example("%YAML 1.9999999999\n---\na: 1")
@example("a: !<\n")
@example("&a &b c")
@example("? - a\n: b")
@example("'")
@example('"\\x')
@example("%TAG ! !\n--- !x")
def test_any_text_gives_a_ladder_or_a_ladder_error(text: str) -> None:
    """Never another exception."""
    loads_or_says_why(text)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_give_a_ladder_or_a_ladder_error(data: bytes) -> None:
    """Never another exception."""
    loads_or_says_why(data)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        _WORDS | st.sampled_from([": ", "\n", "  ", "- ", "{", "}", "[", "]", ","]), max_size=40
    )
)
def test_any_row_of_words_gives_a_ladder_or_a_ladder_error(words: list[str]) -> None:
    """Never another exception."""
    loads_or_says_why("".join(words))


@settings(max_examples=500, deadline=None)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "version": _TREES,
            "name": _TREES,
            "metadata": _TREES,
            "providers": _TREES | st.dictionaries(_WORDS, _TREES, max_size=3),
            "ladder": _TREES | st.lists(st.dictionaries(_WORDS, _TREES, max_size=5), max_size=3),
            "scorer": _TREES,
            "policy": _TREES,
            "gates": _TREES,
            "log": _TREES,
        },
    )
)
def test_any_data_gives_a_ladder_or_a_ladder_error(data: dict[str, object]) -> None:
    """Whatever stands under the keys of a ladder file."""
    base = yaml.safe_load(SMALLEST)
    loads_or_says_why(json.dumps(base | data))


def test_loading_reads_no_clock_and_needs_no_network_and_no_catalogue() -> None:
    """A check of a file imports neither the price list nor a client."""
    code = (
        "import sys; from cascade.config import load_ladder_file; "
        "load_ladder_file(sys.argv[1], {}); "
        "print([m for m in ('genai_prices', 'numpy', 'aiohttp') if m in sys.modules])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, str(ROOT / "configs" / "recorded.yaml")],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert "genai_prices" not in ran.stdout
