"""How many tokens a text is, to say beforehand what calls are going to cost."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tiktoken import Encoding

__all__ = ["token_counter"]

_ENCODING = "o200k_base"
_PIECE_CHARS = 20_000  # text without a space takes tiktoken a time that grows with its square
_BYTES_A_TOKEN = 4


def token_counter(wait_s: float = 10.0) -> tuple[Callable[[str], int], str]:
    """Return (text → tokens, how it counts).

    tiktoken fetches its table once and keeps it; where that fails or takes longer than `wait_s`
    seconds, four bytes count as a token. Models count differently: by some 20 % for English text.
    """
    found: list[Encoding] = []
    loading = threading.Thread(target=_load, args=(found,), daemon=True)
    loading.start()
    loading.join(wait_s)
    if not found:
        return _by_bytes, "by their bytes, as tiktoken's table cannot be fetched"
    encoding = found[0]

    def count(text: str) -> int:
        pieces = range(0, len(text), _PIECE_CHARS)
        return sum(len(encoding.encode_ordinary(text[i : i + _PIECE_CHARS])) for i in pieces)

    return count, f"by tiktoken's {_ENCODING}"


def _load(found: list[Encoding]) -> None:
    import tiktoken

    try:
        found.append(tiktoken.get_encoding(_ENCODING))
    except (OSError, ValueError):
        return  # no network, or not what was expected there


def _by_bytes(text: str) -> int:
    return -(-len(text.encode("utf-8", "surrogatepass")) // _BYTES_A_TOKEN)
