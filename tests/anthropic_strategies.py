"""Hypothesis strategies of conversations, parts and tools, in the form in which readers of requests give them."""

from __future__ import annotations

import base64
import json
from typing import Any

from hypothesis import strategies as st

from anyllm.types import ContentPart, FunctionCall, Message, ToolCall

__all__ = ["CACHE", "IDS", "NAMES", "SCHEMAS", "TEXTS", "WORDS", "conversations", "documents", "functions", "images"]

TEXTS = st.text(min_size=1, max_size=12)
#: Texts that are more than white space.
WORDS = TEXTS.filter(str.strip)
#: Letters that every provider allows in the names of functions, and in the ids of calls.
NAMES = st.text("abcXYZ019_-", min_size=1, max_size=8)
IDS = NAMES
CACHE = st.sampled_from([None, {"type": "ephemeral"}, {"type": "ephemeral", "ttl": "1h"}])

_SCALARS = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=6)
_VALUES = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=6
)
#: Objects of JSON.
OBJECTS = st.dictionaries(TEXTS, _VALUES, max_size=3)
SCHEMAS = st.builds(
    lambda names: {"type": "object", "properties": {name: {"type": "string"} for name in names}},
    st.lists(NAMES, max_size=2, unique=True),
)


def _data_url(media_type: str, data: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


#: Images by URL and by their bytes.
images = st.sampled_from(
    ["https://a.example/a.png", _data_url("image/png", b"\x89PNG"), _data_url("image/jpeg", b"\xff")]
)


@st.composite
def functions(draw: Any) -> dict[str, Any]:
    """A tool in OpenAI's shape."""
    optional = {"description": draw(st.none() | TEXTS), "strict": draw(st.none() | st.booleans())}
    more = {key: value for key, value in optional.items() if value is not None}
    return {"type": "function", "function": {"name": draw(NAMES), "parameters": draw(SCHEMAS), **more}}


@st.composite
def documents(draw: Any) -> dict[str, Any]:
    """A file part: a PDF by URL or by its bytes, or a text, each with or without a name."""
    pdf = st.sampled_from(["https://a.example/a.pdf", _data_url("application/pdf", b"%PDF-1.4")])
    data = draw(pdf | st.text(max_size=6).map(lambda text: _data_url("text/plain", text.encode())))
    name = draw(st.none() | NAMES)
    return {"filename": name, "file_data": data} if name else {"file_data": data}


def _calls(ids: list[str], names: list[str], arguments: list[Any]) -> list[ToolCall]:
    texts = [json.dumps(value, ensure_ascii=False, separators=(",", ":")) for value in arguments]
    rows = enumerate(zip(ids, names, texts))
    return [ToolCall(call_id, FunctionCall(name, text), index=place) for place, (call_id, name, text) in rows]


@st.composite
def conversations(draw: Any, parts: Any, reasoning: Any, cache: Any = CACHE) -> list[Message]:
    """
    Messages in which user and assistant alternate, and each call has its result.

    Args:
        parts: Parts of the user's messages and of results that a format can express, text among them.
        reasoning: Reasoning that it can express, or None.
        cache: Values of ``cache_control``; ``st.none()`` where it has none.
    """
    contents = TEXTS | st.lists(parts, min_size=2, max_size=3)
    messages: list[Message] = []
    for _ in range(draw(st.integers(1, 3))):
        messages.append(Message.user(draw(contents)))
        ids = draw(st.lists(IDS, max_size=2, unique=True))
        calls = _calls(ids, [draw(NAMES) for _ in ids], [draw(OBJECTS) for _ in ids])
        texts = st.lists(st.builds(ContentPart, text=WORDS, cache_control=cache), min_size=2, max_size=2)
        content = draw(WORDS | texts if not calls else st.none() | WORDS | texts)
        cached = draw(cache) if calls else None
        messages.append(Message.assistant(content, tool_calls=calls, reasoning=draw(reasoning), cache_control=cached))
        messages += [
            Message.tool(draw(st.none() | contents), call.id or "", cache_control=draw(cache)) for call in calls
        ]
    return [*messages, *([Message.user(draw(contents))] if draw(st.booleans()) else [])]
