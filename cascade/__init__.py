"""Answers every LLM request with the cheapest model that gets it right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .default import ask, ask_many, stream
from .engine import Cascade
from .errors import (
    AllRungsFailed,
    BadResponse,
    BudgetExceeded,
    CascadeError,
    CircuitOpen,
    ConfigError,
    ConnectFailed,
    ContentRefused,
    ContextTooLong,
    CoolingDown,
    DeadlineExceeded,
    EngineClosed,
    LadderError,
    LimitReached,
    LogError,
    NotCalled,
    NotRecorded,
    Problem,
    PromptOverBudget,
    ProviderError,
    ProviderTimeout,
    RateLimited,
    RequestError,
    RequestRefused,
    RunError,
    ScorerError,
    ServerFailed,
    StreamBroken,
    Unauthorized,
)
from .events import (
    AnswerStarted,
    Done,
    Event,
    RefusalDelta,
    RungLeft,
    RungStarted,
    TextDelta,
)
from .ladder import Ladder, Rung
from .policy import Decision, Policy, State, Thresholds
from .pricing import Price
from .stream_rules import StreamRule
from .streaming import AnswerStream
from .types import (
    Answer,
    Attempt,
    CallContext,
    Chunk,
    Demand,
    Message,
    ModelCall,
    OneOfMany,
    Request,
    Result,
    Score,
    Streamed,
    TokenLogprobs,
    ToolCallDelta,
    Try,
    Usage,
)

if TYPE_CHECKING:
    from . import sync

__version__ = "0.1.0"

__all__ = [
    "AllRungsFailed",
    "Answer",
    "AnswerStarted",
    "AnswerStream",
    "Attempt",
    "BadResponse",
    "BudgetExceeded",
    "CallContext",
    "Cascade",
    "CascadeError",
    "Chunk",
    "CircuitOpen",
    "ConfigError",
    "ConnectFailed",
    "ContentRefused",
    "ContextTooLong",
    "CoolingDown",
    "DeadlineExceeded",
    "Decision",
    "Demand",
    "Done",
    "EngineClosed",
    "Event",
    "Ladder",
    "LadderError",
    "LimitReached",
    "LogError",
    "Message",
    "ModelCall",
    "NotCalled",
    "NotRecorded",
    "OneOfMany",
    "Policy",
    "Price",
    "Problem",
    "PromptOverBudget",
    "ProviderError",
    "ProviderTimeout",
    "RateLimited",
    "RefusalDelta",
    "Request",
    "RequestError",
    "RequestRefused",
    "Result",
    "RunError",
    "Rung",
    "RungLeft",
    "RungStarted",
    "Score",
    "ScorerError",
    "ServerFailed",
    "State",
    "StreamBroken",
    "StreamRule",
    "Streamed",
    "TextDelta",
    "Thresholds",
    "TokenLogprobs",
    "ToolCallDelta",
    "Try",
    "Unauthorized",
    "Usage",
    "__version__",
    "ask",
    "ask_many",
    "stream",
    "sync",
]


def __getattr__(name: str) -> Any:
    """Load the blocking front at first use: it needs threads that most programs do not."""
    if name == "sync":
        import importlib

        return importlib.import_module(".sync", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
