"""Writes what the table of keys says: a JSON Schema for editors and docs/configuration.md.

`python -m cascade.config.reference [ROOT]` writes both files of the repository; a test fails when
they are out of date.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from .caches import DiskCache, MemoryCache, NearConfig, RedisCache
from .compress import (
    BoilerplateStage,
    CompressConfig,
    DedupeStage,
    ExamplesStage,
    ExtractStage,
    HistoryStage,
    MinifyStage,
    PluginStage,
)
from .editors import json_schema
from .gates import PythonGate, RegexGate
from .places import locate
from .policies import (
    AgreementPolicy,
    CascadeRoutingPolicy,
    ChainPolicy,
    ContinuationConfig,
    CustomPolicy,
    FixedPolicy,
    InductionPolicy,
    RandomSharePolicy,
    RoutingPolicy,
    ThresholdPolicy,
    WeightedPolicy,
)
from .prices import PriceConfig
from .providers import (
    AnthropicProvider,
    OpenAIProvider,
    PoolMember,
    PoolProvider,
    RecordedProvider,
)
from .resilience import BreakerConfig, HedgeConfig, LimitsConfig, RetryConfig
from .schema import AskManyConfig, LadderConfig, LogConfig, RungConfig
from .scorers import (
    CustomScorer,
    JudgeScorer,
    LogprobScorer,
    NoScorer,
    PluginScorer,
    PTrueScorer,
    TrainedScorer,
)
from .shared import SharedConfig
from .streams import RungStreamConfig, StreamConfig
from .telemetry import OtelConfig, PrometheusConfig, TelemetryConfig
from .tenants import BudgetConfig, MemoryLedger, RedisLedger, SqliteLedger, TenantConfig

__all__ = ["main", "reference_markdown", "write_reference"]

_SECTIONS: Sequence[tuple[str, type[BaseModel]]] = (
    ("The file", LadderConfig),
    ("`providers.<name>`, kind `openai`", OpenAIProvider),
    ("`providers.<name>`, kind `anthropic`", AnthropicProvider),
    ("`providers.<name>`, kind `recorded`", RecordedProvider),
    ("`providers.<name>`, kind `pool`", PoolProvider),
    ("`providers.<name>.of[i]`", PoolMember),
    ("`providers.<name>.retry`", RetryConfig),
    ("`providers.<name>.breaker`", BreakerConfig),
    ("`providers.<name>.limits`, `tenants.<name>.limits`", LimitsConfig),
    ("`hedge`, `providers.<name>.hedge`", HedgeConfig),
    ("`ladder[i]`", RungConfig),
    ("`compress`, `ladder[i].compress`", CompressConfig),
    ("`compress`, stage `minify`", MinifyStage),
    ("`compress`, stage `dedupe`", DedupeStage),
    ("`compress`, stage `boilerplate`", BoilerplateStage),
    ("`compress`, stage `extract`", ExtractStage),
    ("`compress`, stage `examples`", ExamplesStage),
    ("`compress`, stage `history`", HistoryStage),
    ("`compress`, stage `plugin`", PluginStage),
    ("`ladder[i].price`", PriceConfig),
    ("`scorer`, kind `logprob`", LogprobScorer),
    ("`scorer`, kind `trained`", TrainedScorer),
    ("`scorer`, kind `judge`", JudgeScorer),
    ("`scorer`, kind `p_true`", PTrueScorer),
    ("`scorer`, kind `plugin`", PluginScorer),
    ("`scorer`, kind `none`", NoScorer),
    ("`scorer` of your own", CustomScorer),
    ("`policy`, kind `thresholds`", ThresholdPolicy),
    ("`policy`, kind `chain`", ChainPolicy),
    ("`policy`, kind `induction`", InductionPolicy),
    ("`policy.continuations[i]`", ContinuationConfig),
    ("`policy`, kind `cascade_routing`", CascadeRoutingPolicy),
    ("`policy`, kind `routing`", RoutingPolicy),
    ("`policy`, kind `agreement`", AgreementPolicy),
    ("`policy`, kind `fixed`", FixedPolicy),
    ("`policy`, kind `weighted`", WeightedPolicy),
    ("`policy`, kind `random_share`", RandomSharePolicy),
    ("`policy` of your own", CustomPolicy),
    ("`gates[i]`: a pattern", RegexGate),
    ("`gates[i]`: a function", PythonGate),
    ("`cache`, kind `memory`", MemoryCache),
    ("`cache`, kind `disk`", DiskCache),
    ("`cache`, kind `redis`", RedisCache),
    ("`cache.near`", NearConfig),
    ("`stream`", StreamConfig),
    ("`ladder[i].stream`", RungStreamConfig),
    ("`ask_many`", AskManyConfig),
    ("`tenants.<name>`", TenantConfig),
    ("`budgets[i]`, `tenants.<name>.budgets[i]`", BudgetConfig),
    ("`ledger`, kind `sqlite`", SqliteLedger),
    ("`ledger`, kind `memory`", MemoryLedger),
    ("`ledger`, kind `redis`", RedisLedger),
    ("`shared`", SharedConfig),
    ("`log`", LogConfig),
    ("`telemetry`", TelemetryConfig),
    ("`telemetry.prometheus`", PrometheusConfig),
    ("`telemetry.otel`", OtelConfig),
)

_INTRODUCTION = """\
# What can a ladder file say?

One YAML file describes one ladder. Every key there is stands on this page; an unknown key is a mistake.
`cascade check FILE` names every mistake with its line, what was given and what is allowed. It imports what the
file names in Python, and reads the first 64 MB of the log behind a recorded provider. It ends with 1 when there
are mistakes, and with 2 when a file cannot be read.

```yaml
version: 1
name: support
providers:
  local: {kind: openai, base_url: "http://127.0.0.1:8080/v1"}
  openai: {kind: openai, api_key: "${OPENAI_API_KEY}"}
ladder: # cheapest first
  - {model: small-model, provider: local, accept: 0.82}
  - {model: gpt-4.1, provider: openai}
```

**Editors** complete and check the file when its first line is
`# yaml-language-server: $schema=cascade.schema.json` (the path of a copy of `configs/cascade.schema.json`;
`cascade check --schema` prints it).

**Variables.** `${NAME}` in a value is replaced by the environment variable; unset or empty, it is a mistake.
`${NAME:-default}` has a default, and `$${` is a plain `${`. A variable always gives text, never a number,
and keys are not replaced. Messages show `${NAME}`, never what it holds, and of a web address its scheme and host.

**Types** are strict: `"0.8"` is text and no threshold, `true` is no number. The file is read as YAML 1.2, so
`yes` and `on` are text and `1e-3` is a number. Tags (`!!…`), merge keys (`<<`), duplicate keys and several
documents are refused; anchors and aliases are fine. A file has at most 1 MB, 20,000 values and 64 levels.

**Paths** start from the folder of the file they stand in.

**Prices** that a rung does not state come from the catalogue of list prices
([genai-prices](https://pypi.org/project/genai-prices/), lowest tier), by model and address. A server of your own
is not in it: without `price` its costs are unknown, and so are the totals they are part of. Write
`price: {input: 0, output: 0}` if you want it to count as free.
"""


def reference_markdown() -> str:
    """Return docs/configuration.md."""
    parts = [_INTRODUCTION]
    for title, table in _SECTIONS:
        fields = sorted(table.model_fields.items(), key=lambda item: item[0] != "kind")
        rows = [_row(name, field, table) for name, field in fields]
        lines = [
            f"## {title}",
            "",
            (table.__doc__ or "").strip(),
            "",
            "| key | allowed | default | |",
            "| --- | --- | --- | --- |",
            *rows,
            "",
        ]
        parts.append("\n".join(lines))
    parts.append(
        "This page is made from the tables in `cascade/config/` by `python -m cascade.config.reference`.\n"
    )
    return "\n".join(parts)


def write_reference(root: Path) -> None:
    """Write docs/configuration.md and configs/cascade.schema.json below `root`."""
    schema = json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"
    (root / "configs" / "cascade.schema.json").write_text(schema, encoding="utf-8")
    (root / "docs" / "configuration.md").write_text(reference_markdown(), encoding="utf-8")


def main(arguments: Sequence[str]) -> None:
    """Write both files below the folder named, or the working directory."""
    write_reference(Path(arguments[0]) if arguments else Path())


def _row(name: str, field: FieldInfo, table: type[BaseModel]) -> str:
    allowed = locate((name,), table).allowed or ""
    cells = [f"`{name}`", allowed, _default(field), field.description or ""]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "**required**"
    value = field.get_default(call_default_factory=True)
    if value is None or value is PydanticUndefined:
        return "absent"
    if isinstance(value, BaseModel):
        kind = getattr(value, "kind", None)
        return "on, as below" if kind is None else f"`kind: {kind}`"
    if isinstance(value, float):
        return f"`{value:g}`" if value < 1e5 else f"`{value:.0f}`"
    if isinstance(value, tuple):
        return f"`[{', '.join(map(str, value))}]`"
    return f"`{json.dumps(value)}`" if not isinstance(value, str) else f"`{value}`"


if __name__ == "__main__":
    main(sys.argv[1:])
