"""JSON in a text: where its values are, and the same without padding, strings and numbers byte for byte."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

__all__ = ["json_values", "without_padding"]

_Span = tuple[int, int]

_START = re.compile(r"\n {0,3}(?=[\[{])")
"""Begins with a line break, which the regex engine finds fast: searched in the text with one put before it."""
_LINE_REST = re.compile(r"[ \t]*(?:\n|\r\n|\Z)")
_TOKENS = re.compile(r'"(?:[^"\\]+|\\.)*+"|[^" \t\r\n]+', re.DOTALL)
_HAS_PADDING = re.compile(r"[ \t\r\n]")

_decode = json.JSONDecoder().raw_decode


def json_values(text: str, fences: Sequence[_Span] = ()) -> list[_Span]:
    """Return where JSON objects and arrays are that begin and end with a line, outside of code fences.

    What is not whole is not JSON: nothing in it is looked at again, so the scan is linear.

    Args:
        text: Any text.
        fences: Where code is, sorted and disjoint.
    """
    if "{" not in text and "[" not in text:
        return []
    found: list[_Span] = []
    lined = "\n" + text
    at, fence = 0, 0
    while (start := _START.search(lined, at)) is not None:
        begin = start.end() - 1
        while fence < len(fences) and fences[fence][1] <= begin:
            fence += 1
        if fence < len(fences) and fences[fence][0] <= begin:
            at = fences[fence][1]
            continue
        try:
            _, end = _decode(text, begin)
        except json.JSONDecodeError as exc:
            at = max(exc.pos, begin + 1)
            continue
        except (RecursionError, ValueError):  # too deep; or a number with too many digits
            at = len(text)
            continue
        if _LINE_REST.match(text, end):
            found.append((begin, end))
        at = end
    return found


def without_padding(value: str) -> str:
    """Return JSON without the whitespace between its tokens.

    >>> without_padding('{ "a  b": [1.50,  2e3],\\n  "c": "\\\\" " }')
    '{"a  b":[1.50,2e3],"c":"\\\\" "}'
    """
    if _HAS_PADDING.search(value) is None:
        return value
    return "".join(_TOKENS.findall(value))
