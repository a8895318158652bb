"""What every table of keys has in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict

__all__ = ["Table", "tag_by_kind"]


class Table(BaseModel):
    """Base of every mapping in the file: typed strictly, unknown keys refused, never changed."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        hide_input_in_errors=True,
        protected_namespaces=(),
    )

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        # Names only: any value may have come from the environment, and reprs end up in logs.
        return iter((None, name) for name in sorted(self.model_fields_set))

    def __repr_str__(self, join_str: str) -> str:
        return join_str.join(str(name) for _, name in self.__repr_args__())

    def __str__(self) -> str:
        return repr(self)


def tag_by_kind(*kinds: str, default: str | None = None) -> Callable[[Any], str | None]:
    """Return a discriminator of unions by their `kind`; `default` is the kind of one that names none."""

    def tag(value: Any) -> str | None:
        if not isinstance(value, (dict, BaseModel)):
            return None
        kind = value.get("kind", default) if isinstance(value, dict) else value.kind  # type: ignore[attr-defined]
        if kind in kinds:
            return str(kind)
        return "custom" if default and isinstance(kind, str) and ":" in kind else None

    return tag
