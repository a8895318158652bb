"""What a ladder file may say of prices."""

from __future__ import annotations

from pydantic import Field

from .table import Table
from .values import PriceUsd

__all__ = ["PriceConfig"]


class PriceConfig(Table):
    """US dollars per million tokens."""

    input: PriceUsd = Field(description="Input tokens.")
    output: PriceUsd = Field(description="Output tokens, hidden reasoning included.")
    cached_input: PriceUsd | None = Field(
        default=None, description="Input tokens read from a prompt cache. Absent: as `input`."
    )
    cache_write: PriceUsd | None = Field(
        default=None, description="Input tokens written to a prompt cache. Absent: as `input`."
    )
