"""An estimate of how many tokens a text is, for models whose vocabulary is not at hand.

Calibrated on prompts, answers, code and documentation against o200k_base; `cascade.tokens.counter`
then learns how a model differs from what its provider counts.
"""

from __future__ import annotations

import string

__all__ = ["estimate_tokens"]

_LETTERS = string.ascii_letters.encode()
_DIGITS = string.digits.encode()
_SPACES = b" \n\t\r"

LETTER, DIGIT, SIGN, SPACE, BEYOND = 0.104, 0.69, 0.63, 0.61, 0.24
"""Tokens for each ASCII letter, digit, other sign and word-separating space, and for each byte of UTF-8
beyond ASCII. Least squares over shared prompts and answers; `benchmarks/compression.py --calibrate` tells how
far off it is: 0.88 to 1.08 of the truth for nine in ten of 7,289 texts."""


def estimate_tokens(text: str) -> int:
    """Return about how many tokens a text is, >= 0; at least 1 for any text but "".

    Of prompts and answers in English nine in ten are within 12 %. Scripts other than Latin differ
    more: vocabularies have from 0.1 to 0.6 tokens for a byte of them.

    >>> estimate_tokens("The quick brown fox jumps over the lazy dog."), estimate_tokens("")
    (9, 0)
    """
    if not text:
        return 0
    plain = text.encode("utf-8", "surrogatepass")
    beyond = 0
    if not text.isascii():
        whole = len(plain)
        plain = text.encode("ascii", "ignore")
        beyond = whole - len(plain)
    no_letters = plain.translate(None, _LETTERS)
    no_digits = no_letters.translate(None, _DIGITS)
    signs = no_digits.translate(None, _SPACES)
    # A run of spaces is one token: of two neighbours only one separates words.
    spaces = len(no_digits) - len(signs) - plain.count(b"  ") - plain.count(b"\n\n")
    found = (
        LETTER * (len(plain) - len(no_letters))
        + DIGIT * (len(no_letters) - len(no_digits))
        + SIGN * len(signs)
        + SPACE * max(spaces, 0)
        + BEYOND * beyond
    )
    return max(1, round(found))
