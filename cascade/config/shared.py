"""What a ladder file may say of the state that processes and machines share."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .table import Table
from .values import Hidden, Name

__all__ = ["SharedConfig"]


class SharedConfig(Table):
    """Redis, for limits and breakers. While it cannot be reached, each process goes by itself."""

    kind: Literal["redis"] = Field(default="redis", description="A Redis server.")
    url: Annotated[Name, Hidden()] = Field(
        description="Such as redis://127.0.0.1:6379/0; write `${NAME}` if it holds a password."
    )
    prefix: Name = Field(default="cascade:shared:", description="What its keys begin with.")
    limits: bool = Field(
        default=True,
        description="Keep `limits` of providers and tenants together; one round trip a call.",
    )
    breakers: bool = Field(
        default=True,
        description="A breaker that opens in one process opens in all, within half a second.",
    )
