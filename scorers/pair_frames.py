"""What kind of question a prompt asks, told from its opening, and what is left without that opening.

"What is the best way to", "how do I" and "how to" ask the same of what follows; "how long does it take to"
does not. Polite openings are passed over.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["FRAMES", "frame_of"]

_ONE = r"(?:i|you|we|one|someone|somebody|anyone|people|a person)"
_GOOD = r"(?:(?:very|most|absolute|single) )?(?:best|good|better|great|easiest|easy|fastest|fast|quickest|quick|right|simplest|simple|proper|effective|efficient|correct|cheapest|ideal|possible|different|various)"
_THE = r"(?:(?:the|a|an|any|some|some of the|all the|your) )?"
_POLITE = re.compile(
    r"(?:(?:hi|hello|hey|dear|sir|please|kindly|pls|so|well|ok|okay|and|quick question|question"
    r"|thanks|thank you|good morning|excuse me|sorry"
    r"|i (?:was|am|m|have been) (?:just )?(?:wondering|curious)(?: if you know| about)?"
    r"|i (?:would|d) (?:like|love) to know|i (?:want|need|wish) to know|i have a question(?: about)?"
    r"|(?:can|could|would|will) (?:you|anyone|anybody|someone|somebody)(?: please| kindly)?"
    r" (?:tell|help|inform|let)(?: me| us)?(?: know| out)?"
    r"|(?:can|could|would|will) (?:you|anyone|someone)(?: please| kindly)? (?=explain|describe|give|suggest|name|list|define|recommend)"
    r"|(?:please )?tell (?:me|us)(?: about)?|do you know|does (?:anyone|anybody|someone) know|let me know"
    r"|would you say(?: that)?|do you think(?: that)?|is it true that|in your opinion|briefly) )+"
)
_KINDS: tuple[tuple[str, str], ...] = (
    (
        "how",
        rf"what(?: is| s| are| re| would be| will be| should be) {_THE}(?:{_GOOD}(?: and )? ?)*"
        rf"(?:way|ways|method|methods|step|steps|tip|tips|trick|tricks|technique|techniques)"
        rf"(?: (?:for|of|on how|how|by which|in which|that|through which))?(?: (?:{_ONE} )?(?:can|could|should))?(?: {_ONE})?(?: to)?"
        rf"|(?:is|are) there (?:a|any|some) (?:{_GOOD} )*(?:way|ways|method|methods)(?: for {_ONE})? to"
        rf"|which is the (?:{_GOOD} )*(?:way|method) (?:to|of|for)"
        rf"|how (?:do|can|should|could|would|shall|might|may|must)(?: {_ONE})?(?: go about)?"
        rf"|how does (?:one|someone|a person)|how to|how {_ONE} (?:can|could|should)"
        rf"|what (?:should|can|could|must|do|shall) {_ONE} do (?:to|for|in order to)"
        r"|(?:explain|describe|show|show me|show us|teach me|tell me) how (?:to|i can|you can|one can)"
        r"|i (?:want|need|would like|wish) to(?= .* how\b)|in what way (?:do|can|should) i",
    ),
    ("how come", r"how come"),
    (
        "how long",
        r"how (?:long|much time)(?: (?:does|do|did|will|would|should|is|are)(?: it| i| you)?(?: need| take)?(?: me)?(?: to)?)?",
    ),
    ("how much", r"how much"),
    ("how many", r"how many|what (?:number|is the number|s the number) of"),
    ("how often", r"how (?:often|frequently)"),
    (
        "how very",
        r"how (?:far|old|big|large|tall|deep|fast|heavy|hot|cold|strong|safe|good|bad|hard|difficult|easy|important|likely|likely|close|early|late|high|low|small|wide|accurate|effective|common|expensive)",
    ),
    ("how did", r"how (?:did|have|has|had|was|were)"),
    ("how is", r"how (?:is|are|s|am|will|does)|in what way does|(?:explain|describe) how"),
    (
        "why",
        rf"why (?:did|was|were|had)|why (?:should|do|would|can) {_ONE}|why (?:do|does|is|are|s|am|can|cannot|should|would|will|have|has|could|must)?"
        rf"|how come|what(?: is| s| are) {_THE}(?:{_GOOD} )*(?:reason|reasons|cause|causes)(?: that| why| for| of| behind| to)?"
        r"|what (?:makes|causes|caused|made)|for what reason",
    ),
    (
        "when",
        rf"when(?: to| (?:can|could|should|do|would) {_ONE})?|(?:at )?what time|(?:in )?(?:what|which) year|on (?:what|which) (?:day|date)|since when",
    ),
    (
        "where",
        rf"where(?: to| (?:can|could|should|do|would|might) {_ONE})?|(?:in |at )?(?:what|which) (?:place|city|country|town|state|location)|from where",
    ),
    ("who", r"who|whom|whose|by whom|what person|which person"),
    (
        "what is",
        r"(?:what|which)(?: one)? (?:exactly |actually )?(?:is|s|are|re)(?: exactly| actually)?(?: meant by| the (?:definition|meaning) of)?"
        r"|whats|define|(?:explain|describe)(?: to me)?(?: what(?: is| are)?)?|(?:definition|meaning) of"
        r"|what (?:does|do)(?= .* mean\b)|what do you (?:mean by|understand by|know about)",
    ),
    ("what did", r"what (?:was|were|did|has|have|had)"),
    ("what would", r"what (?:will|would|could|might|may|should|can|shall|must)"),
    ("what", r"what|which"),
    ("is", r"is|are|am|isn|aren"),
    ("was", r"was|were|did|had"),
    ("does", r"does|do|has|have"),
    ("can", r"can|could|may|might"),
    ("should", r"should|shall|must|ought"),
    ("will", r"will|would"),
    (
        "list",
        r"(?:list|name|give|give me|suggest|recommend|mention|enumerate|provide|show|show me)",
    ),
    ("translate", r"translate"),
    ("convert", r"convert"),
    ("write", r"(?:write|compose|draft|generate|create|make|build|design)"),
    ("compute", r"(?:calculate|compute|solve|evaluate|find|simplify|determine)"),
    ("shorten", r"(?:summarize|summarise|shorten|rewrite|paraphrase|rephrase)"),
)
FRAMES = ("other", *(name for name, _ in _KINDS))
"""Kinds of questions; a frame is a position in this."""

_WHAT, _WHAT_IS = FRAMES.index("what"), FRAMES.index("what is")
_TELL = re.compile(r"\b(?:tell|know)\b")
_LOOKED_AT = 40
"""Words from the beginning among which an opening is looked for."""
_OPENING = re.compile("|".join(f"(?P<k{i}>(?:{kind})\\b)" for i, (_, kind) in enumerate(_KINDS)))
_LEADING = re.compile(
    r"(?:in|for|with|using|on|at|as|after|before|when|if) [^?]{1,60}?(?= (?:how|what|why|where|when|who|which|is|are|can|do|does|should) )"
)


def frame_of(words: Sequence[str]) -> tuple[int, list[str]]:
    """Return the frame, and the words without its opening and without what is merely polite.

    >>> words = tuple("please tell me what is the best way to learn chess".split())
    >>> frame, rest = frame_of(words)
    >>> FRAMES[frame], rest
    ('how', ['learn', 'chess'])
    """
    text = " ".join(words[:_LOOKED_AT])
    polite = _POLITE.match(text)
    start = begin = polite.end() if polite else 0
    found = _OPENING.match(text, start)
    if found is None and (leading := _LEADING.match(text, start)):
        begin = leading.end() + 1
        found = _OPENING.match(text, begin)
    before = text.count(" ", 0, start)
    if found is None:
        # "tell me the capital of France" asks what it is
        return _WHAT_IS if polite and _TELL.search(polite.group()) else 0, list(words[before:])
    first = text.count(" ", 0, begin)
    after = text.count(" ", 0, found.end()) + (text[found.end() - 1 : found.end()] != " ")
    frame = int((found.lastgroup or "k0")[1:]) + 1
    rest = [*words[before:first], *words[after:]]
    if polite and frame == _WHAT and rest and rest[-1] in ("is", "are"):
        return _WHAT_IS, rest[:-1]  # "tell me what the capital of France is"
    return frame, rest
