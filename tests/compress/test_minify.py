"""Lossless minification: padding goes, what a reader sees stays."""

from __future__ import annotations

import pytest

from cascade.compress import Minify, Pipeline

from .prompts import chat, content, long_prompt


def minified(context: str) -> str:
    """The context as it is after the stage."""
    return content(Pipeline([Minify()]).compress(long_prompt(context)).request).split("\n\nSome f")[
        0
    ]


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("a  b   c", "a b c"),
        ("end   \nnext\t\nlast", "end\nnext\nlast"),
        ("one\n\n\n\ntwo", "one\n\ntwo"),
        ("one\r\n\r\n\r\ntwo", "one\n\ntwo"),
        ("  indented  line", "  indented line"),
        ('{"a":  [1,  2.50],\n "b  c": "x  y"}', '{"a":[1,2.50],"b  c":"x  y"}'),
        ("| a   | b  |\n|-----|:--:|\n| 1.0 | 2  |", "|a|b|\n|---|:--:|\n|1.0|2|"),
        ("`a  b` and  c", "`a  b` and c"),
        ('he said  "so  be it"  then', 'he said "so  be it" then'),
        ("```\nx  =  1   \n```\ny  z", "```\nx  =  1   \n```\ny z"),
        ("```\nopen  fence", "```\nopen  fence"),
        ("name   age\nbob     12\nal      13", "name   age\nbob     12\nal      13"),
        ("x,  y,z\n1,2,3  \n4,5,6  \n7,8,9", "x, y,z\n1,2,3  \n4,5,6  \n7,8,9"),
        ("do(a,  b);\n// so  it is\nit  ends", "do(a,  b);\n// so  it is\nit ends"),
        ("f(a,  b)  \nend  it", "f(a,  b)  \nend it"),
        ("é  ü  日本  語", "é ü 日本 語"),
    ],
)
def test_padding_goes_and_the_rest_stays(given: str, wanted: str) -> None:
    """Spaces, line ends, JSON and pipe tables lose padding; code, quotations and columns do not."""
    assert minified(given) == wanted


def test_a_system_message_is_never_touched() -> None:
    """Instructions stay byte for byte."""
    request = chat(("system", "Be  brief.   \n\n\n\nNow."), ("user", "x"))
    assert Pipeline([Minify()]).compress(request).request is request


def test_nothing_to_do_returns_the_very_request() -> None:
    """An untouched request is the same object, and its tokens are not counted."""
    request = long_prompt("plain text")
    done = Pipeline([Minify()]).compress(request)
    assert done.request is request
    assert done.compression.tokens_before is None


def test_a_stage_reports_tokens_and_what_it_removed() -> None:
    """The report says in words what is gone, and counts before and after."""
    done = Pipeline([Minify()]).compress(long_prompt("a     b     c" * 50), model="gpt-4o")
    (report,) = done.stages
    assert report.tokens_before > report.tokens_after
    assert report.removed == "400 spaces"
