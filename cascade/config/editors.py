"""The JSON Schema of ladder files, from which editors complete and check them."""

from __future__ import annotations

from typing import Any

from .schema import LadderConfig

__all__ = ["json_schema"]


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of ladder files, as editors use it for completion."""
    schema = LadderConfig.model_json_schema()
    policy = schema["properties"]["policy"]
    policy["oneOf"] = [{"type": "string", "title": "Path of a policy file"}, *policy["oneOf"]]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "Cascade ladder",
    }
