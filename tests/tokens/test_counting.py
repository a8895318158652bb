"""Tokens are counted offline, once, and corrected by what providers bill."""

from __future__ import annotations

import gzip
import socket
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from cascade.tokens import TokenCounter, encoding_name, estimate_tokens, offline_encoder
from cascade.tokens.vocabulary import VOCABULARIES, cached_file

TEXTS = (
    "The quick brown fox, it's 12345 times!  \n\n\tEnd.",
    "Ünïcödé e\u0301 日本語のテキスト עברית العربية 👩‍👩‍👧 I'll DON'T",
    "def f(x):\n    return x  # comment\r\n\r\n",
    "a" * 300,
    "<|endoftext|> is text",
    "",
)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any socket is an error."""

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("the network was touched")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def unpack(folder: Path) -> None:
    """Put the packaged vocabularies where tiktoken keeps them."""
    spec = find_spec("bpe_openai")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("bpe-openai is not installed")
    data = Path(spec.submodule_search_locations[0]) / "data"
    for name in VOCABULARIES:
        packed = (data / f"{name}.tiktoken.gz").read_bytes()
        (folder / cached_file(name)).write_bytes(gzip.decompress(packed))


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("name", sorted(VOCABULARIES))
def test_counts_are_those_of_tiktoken(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The packaged vocabulary has the hash tiktoken expects, and gives as many tokens as its own."""
    unpack(tmp_path)
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    import tiktoken
    from tiktoken_ext import openai_public

    its_own = tiktoken.Encoding(**openai_public.ENCODING_CONSTRUCTORS[name]())
    packaged, cached = offline_encoder(name), offline_encoder(name, tmp_path)
    assert packaged is not None
    assert cached is not None
    for text in TEXTS:
        assert packaged(text) == cached(text) == len(its_own.encode_ordinary(text))


@pytest.mark.usefixtures("no_network")
def test_without_a_vocabulary_the_count_is_an_estimate_and_says_so() -> None:
    """No network is touched, and `how` is honest."""
    counter = TokenCounter(lambda name: None)
    assert counter.how("gpt-4o") == "estimate"
    assert counter.count("The quick brown fox", "gpt-4o") == estimate_tokens("The quick brown fox")
    assert TokenCounter().how("some-local-model") == "estimate"


def test_a_damaged_vocabulary_is_none(tmp_path: Path) -> None:
    """Bytes with another hash are not used; the package's own are."""
    (tmp_path / cached_file("o200k_base")).write_bytes(b"damaged")
    encoder = offline_encoder("o200k_base", tmp_path)
    assert encoder is None or encoder("hello world") == 2
    assert offline_encoder("unknown") is None


def test_no_text_is_counted_twice() -> None:
    """The encoder sees each text once, until it is forgotten."""
    seen: list[str] = []

    def encoder(text: str) -> int:
        seen.append(text)
        return len(text)

    counter = TokenCounter(lambda name: encoder, most_kept=2)
    long = "a longer text, whose digest is its key " * 9
    for text in (long, "short", long, "short"):
        counter.count(text, "gpt-4o")
    assert seen == [long, "short"]
    counter.count("third", "gpt-4o")
    counter.count(long, "gpt-4o")
    assert seen == [long, "short", "third", long]


def test_what_is_billed_corrects_the_estimate_by_model() -> None:
    """After some calls a model's own ratio is known; others are as before."""
    counter = TokenCounter(lambda name: None)
    assert counter.correction("m") == 1.0
    for _ in range(20):
        counter.learn("m", 1_000, 1_200)
    assert counter.correction("m") == pytest.approx(1.19, abs=0.01)
    assert counter.billed(1_000, "m") == pytest.approx(1_190, abs=10)
    assert counter.correction("other") == 1.0
    counter.learn("m", 0, 5)
    counter.learn("m", 5, 0)


@pytest.mark.parametrize(
    ("model", "encoding"),
    [
        ("gpt-4o", "o200k_base"),
        ("openai/gpt-3.5-turbo-0125", "cl100k_base"),
        ("gpt-oss-20b", "o200k_base"),
        ("claude-3-haiku", None),
    ],
)
def test_the_encoding_of_a_model(model: str, encoding: str | None) -> None:
    """As tiktoken knows it."""
    assert encoding_name(model) == encoding


@pytest.mark.parametrize("text", ["\ud800 lone", "\x00", "  ", "\n\n\n", "日本", "😀" * 50])
def test_any_text_can_be_counted(text: str) -> None:
    """Lone surrogates, NUL and blanks have tokens too."""
    counter = TokenCounter()
    assert counter.count(text, "gpt-4o") >= 1
    assert counter.count(text, "other") >= 1
