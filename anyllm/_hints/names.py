"""
Tables of names from other libraries, and of ours in the wrong place, with the right ones for error messages.

Strategy: `OPTIONS` is for keyword arguments: it has the class to which the option belongs here, and its spelling, so
that the hint fits the place (`Timeouts(connect=...)` is ``connect=...`` within a `Timeouts`, and
``options=anyllm.StreamingOptions(timeouts=...)`` in a call). `ATTRIBUTES` is for attributes of our objects.
"""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Mapping
from typing import Any, Optional, TypeVar

C = TypeVar("C", bound=type)


_TIMEOUTS, _RETRY, _OPTIONS, _PARAMS = "Timeouts", "Retry", "StreamingOptions", "CompletionParams"
#: The spelling is the same in every place.
_ANYWHERE = ""

#: By another library's name: the class that has the option here, and its spelling there.
OPTIONS: Mapping[str, tuple[str, str]] = {
    # time-outs
    **dict.fromkeys(("connection_timeout", "connect_timeout"), (_TIMEOUTS, "connect=...")),
    **dict.fromkeys(("read_timeout", "stream_timeout"), (_TIMEOUTS, "idle=..., first_content=...")),
    "idle_timeout": (_TIMEOUTS, "idle=..."),
    "first_token_timeout": (_TIMEOUTS, "first_content=..."),
    **dict.fromkeys(("total_timeout", "request_timeout", "timeout", "deadline"), (_TIMEOUTS, "total=...")),
    # retries; our number of attempts includes the first
    **dict.fromkeys(("retry_on_connection_error", "max_attempts"), (_RETRY, "attempts=...")),
    **dict.fromkeys(("max_reconnect_attempts", "max_retries", "num_retries", "retries"), (_RETRY, "attempts=1 + ...")),
    **dict.fromkeys(("reconnect_delay", "retry_delay", "initial_delay"), (_RETRY, "backoff=...")),
    "max_delay": (_RETRY, "max_backoff=..."),
    # streams
    "preserve_partial_response": (_OPTIONS, "keep_partial=..."),
    "chunk_size": (_OPTIONS, "read_size=..."),
    "buffer_size": (_OPTIONS, "buffer=... (in chunks)"),
    "enable_compression": (_OPTIONS, "compression=..."),
    "enable_usage_aggregation": (_OPTIONS, "usage='auto', or usage='provider' to turn it off"),
    "aggregator_type": (_OPTIONS, "usage='auto', 'tiktoken' or 'character'"),
    "enable_json_stream_handler": (_OPTIONS, "json=True"),
    "validate_json_incrementally": (_OPTIONS, "json=True"),
    **dict.fromkeys(("on_token", "on_text", "on_content", "on_chunk"), (_OPTIONS, "on_delta=...")),
    **dict.fromkeys(("on_end", "on_done", "on_finish"), (_OPTIONS, "on_complete=...")),
    # parameters
    **dict.fromkeys(
        ("max_completion_tokens", "max_output_tokens", "max_new_tokens", "num_predict"), (_PARAMS, "max_tokens=...")
    ),
    "stop_sequences": (_PARAMS, "stop=..."),
    "prompt": (_PARAMS, "messages=..."),
    "reasoning": (_PARAMS, "reasoning_effort=..."),
    "reasoning_budget": (_PARAMS, "thinking_budget=..."),
    "include_usage": (_PARAMS, "stream_options={'include_usage': ...}"),
    **{
        name: (_PARAMS, f"extra_body={{{name!r}: ...}}")
        for name in ("top_k", "min_p", "frequency_penalty", "presence_penalty", "logit_bias")
    },
    # clients and calls
    "streaming_options": (_ANYWHERE, "options=..."),
    "return_usage": (_ANYWHERE, "client.stream_with_usage(...)"),
    "system": (_ANYWHERE, "messages=[anyllm.Message.system(...), anyllm.Message.user(...)]"),
    **dict.fromkeys(("api_base", "endpoint"), (_ANYWHERE, "base_url=...")),
    **dict.fromkeys(("apikey", "token"), (_ANYWHERE, "api_key=...")),
    "fallbacks": (_ANYWHERE, "anyllm.Client(..., fallback=[...])"),
    "default_headers": (_ANYWHERE, "anyllm.provider(..., headers={...}), or extra_headers={...} for a call"),
    "http_client": (_ANYWHERE, "anyllm.provider(..., session=requests.Session())"),
    "mock_response": (_ANYWHERE, "provider=anyllm.testing.fake(...)"),
    "definition": (_ANYWHERE, "anyllm.Agent(model, tools=[...], system=...)"),
}

#: By our class and another library's attribute: our attribute. "any" is for all value classes.
ATTRIBUTES: Mapping[str, Mapping[str, str]] = {
    "any": {
        **dict.fromkeys(("model_dump", "json", "as_dict", "asdict"), ".to_dict()"),
        "model_dump_json": "json.dumps(value.to_dict())",
        "get": "attributes: value.name, or .to_dict()",
        "copy": "attrs.evolve(value, name=...)",
    },
    "ChatCompletionChunk": {
        **dict.fromkeys(("get_content", "get_text", "text", "message", "response", "output_text"), "chunk.content"),
        **dict.fromkeys(("reasoning_content", "get_reasoning", "thinking"), "chunk.reasoning"),
        **dict.fromkeys(("json", "model_dump_json"), "chunk.to_json()"),
        "raw_chunk": "chunk.raw",
        "role": "chunk.choices[0].delta.role",
        "delta": "chunk.choices[0].delta",
        "function_call": "chunk.tool_calls",
        "done": "chunk.finish_reason is not None",
        "stop_reason": "chunk.finish_reason",
        "type": "client.chat_stream(...).events(), whose events have a type",
    },
    "ChatCompletion": {
        **dict.fromkeys(("get_text", "get_content", "text", "output_text"), "answer.content"),
        "message": "answer.choices[0].message, or answer.to_message()",
        "reasoning_content": "answer.reasoning",
        "stop_reason": "answer.finish_reason",
        "function_call": "answer.tool_calls",
        "json": "answer.get_json() for the text, answer.to_dict() for all of it",
        "text_stream": "client.stream(...): this is a whole answer",
        "collect": "it as it is: this is a whole answer",
    },
    "Choice": {"delta": "choice.message: this is a whole answer", "text": "choice.message.text"},
    "ChunkChoice": {"message": "choice.delta: this is a piece of an answer", "text": "choice.delta.content"},
    "ChunkDelta": {"reasoning_content": "delta.reasoning.content", "function_call": "delta.tool_calls"},
    "Usage": {
        **dict.fromkeys(("input_tokens", "prompt_token_count"), "usage.prompt_tokens"),
        **dict.fromkeys(("output_tokens", "candidates_token_count"), "usage.completion_tokens"),
        "cached_tokens": "usage.cache_read_tokens",
        "cache_info": "usage.cache_read_tokens and usage.cache_write_tokens",
        "get": "usage.total_tokens and so on; usage.cache_read_tokens for a cache",
        "cost": "answer.cost_usd",
    },
    "ToolCall": {"input": "call.parse()", "args": "call.parse()"},
    "Embeddings": {"data": "embeddings.vectors", "embedding": "embeddings.vectors[0]"},
    "StreamEvent": {
        **dict.fromkeys(("delta", "content", "data"), "event.text"),
        "metadata": "event.tool_call, event.result, event.request_id",
        "tool": "event.tool_call.name",
        "name": "event.tool_call.name",
        "response": "event.completion",
    },
    "Client": {
        "chat_stream_ollama": "anyllm.formats.encode(client.chat_stream(...), 'ollama')",
        **dict.fromkeys(("streamComplete", "completion_stream", "stream_chat", "streaming"), "client.chat_stream(...)"),
        **dict.fromkeys(("complete", "completion", "completions", "generate", "invoke", "run"), "client.chat(...)"),
        "embedding": "client.embed(...)",
        "embeddings": "client.embed(...)",
        "list_models": "client.models()",
        "responses": "client.chat(...), with a model 'openai-responses/...'",
    },
    "Provider": {
        **dict.fromkeys(("CompletionStream", "stream"), "provider.completion_stream(ctx, params)"),
        "Completion": "provider.completion(ctx, params)",
        **dict.fromkeys(("chat", "chat_stream", "stream_with_usage"), "anyllm.Client('model', provider=provider)"),
        "models": "provider.list_models(ctx)",
    },
}

#: By names of other libraries' top level and option modules: ours.
MODULE: Mapping[str, str] = {
    **{f"Role{role.title()}": f"{role!r}" for role in ("system", "user", "assistant", "tool")},
    "Role": "'system', 'user', 'assistant' or 'tool'",
    **{
        f"ReasoningEffort{effort.title()}": f"reasoning_effort={effort!r}"
        for effort in ("none", "low", "medium", "high")
    },
    **{f"{name}_OPTIONS": f"anyllm.options.{name}" for name in ("JSON_MODE", "HIGH_THROUGHPUT", "LOW_LATENCY")},
    **{name: f"anyllm.options.{name}" for name in ("JSON_MODE", "HIGH_THROUGHPUT", "LOW_LATENCY", "DEBUG")},
    **dict.fromkeys(("OpenAI", "LLMClient", "LlmClient", "SteerLLMClient", "LLM"), "anyllm.Client"),
    "CompletionStream": "anyllm.completion_stream",
    "stream": "anyllm.completion_stream, or anyllm.Client(model).stream(...)",
    "chat": "anyllm.Client(model).chat(...)",
    "ChatRequest": "anyllm.CompletionParams",
    **dict.fromkeys(("StreamChunk", "StreamingResponse"), "anyllm.ChatCompletionChunk"),
    "AgentRunner": "anyllm.Agent",
    "acompletion": "anyllm.completion, on a thread: asyncio.to_thread(anyllm.completion, ctx, params)",
    "StreamAdapter": "anyllm.provider: each one's format is read into the same chunks",
    "StreamingHelper": "anyllm.Client(model).chat_stream(...)",
}

#: The fields of our option classes, by the name of the class.
_fields: dict[str, frozenset[str]] = {}
_NESTED = {_TIMEOUTS: "timeouts", _RETRY: "retry"}
#: Classes whose unknown keywords may be another library's.
_PLACES = (_TIMEOUTS, _RETRY, _OPTIONS, _PARAMS, "Agent", "EmbeddingParams")


def register_fields(name: str, fields: Iterable[str]) -> None:
    """Register the *fields* of the class *name*, to recognise them in the wrong place."""
    _fields[name] = frozenset(fields)


def replacement_for(name: str, place: str) -> Optional[str]:
    """
    The right spelling for the keyword argument *name*; None if there is none.

    Args:
        place: Where *name* was used: "Timeouts", "Retry", "StreamingOptions", "CompletionParams", "Agent", "a model" (a
            call of a `Client`), or a function with a Context, as "completion()".
    """
    has_context = place.endswith("()")
    if place not in _PLACES and place != "a model" and not has_context:
        return None
    owner, spelling = OPTIONS.get(name) or next(
        ((cls, f"{name}=...") for cls in (_TIMEOUTS, _RETRY, _OPTIONS, _PARAMS) if name in _fields.get(cls, ())),
        (_ANYWHERE, ""),
    )
    if owner in (_ANYWHERE, place):
        return spelling or None
    if owner == _PARAMS:
        return spelling if place in ("Agent", "a model") else f"anyllm.CompletionParams({spelling})"
    if spelling == "total=..." and place in ("Agent", "a model"):
        return "timeout=..."
    if spelling == "total=..." and has_context:
        return "anyllm.Context(timeout=...)"
    if owner in _NESTED:
        spelling = f"{_NESTED[owner]}=anyllm.{owner}({spelling})"
    return spelling if place == _OPTIONS else f"options=anyllm.StreamingOptions({spelling})"


def no_attribute(what: str, name: str, hints: Mapping[str, str], word: str = "; write ") -> AttributeError:
    """The AttributeError of *what* without the attribute *name*; the spelling in *hints*, if any, follows *word*."""
    hint = hints.get(name)
    return AttributeError(f"{what} has no {name!r}" + (f"{word}{hint}" if hint else ""))


class OtherName:
    """
    An attribute of another library: reading it raises an AttributeError with the right name.

    Not a `__getattr__` of the class: that makes every attribute of the class slower, and those of a chunk are read
    often (0.5 us of 7 a chunk).
    """

    __slots__ = ("_hint", "_name")

    def __init__(self, name: str, hint: str) -> None:
        self._name = name
        self._hint = hint

    def __get__(self, value: Any, kind: type) -> Any:
        raise AttributeError(f"{kind.__name__} has no {self._name!r}; write {self._hint}")


def add_name_hints(cls: C) -> C:
    """Class decorator: add an `OtherName` for each name of other libraries and languages for members of *cls*."""
    hints = {**ATTRIBUTES["any"], **ATTRIBUTES.get(cls.__name__, {})}
    members = {**vars(cls), **vars(cls).get("__annotations__", {})}
    own = {name for name, member in members.items() if name[0] != "_" and not isinstance(member, OtherName)}
    for name in own:
        words = name.split("_")
        capitals = "".join(word.title() for word in words)
        hints.setdefault(capitals, f".{name}")  # FinishReason, as in Go
        hints.setdefault(words[0] + capitals[len(words[0]) :], f".{name}")  # finishReason, as in JavaScript
    if "id" in own:
        hints["ID"] = ".id"
    for name, hint in hints.items():
        # A built-in's name, such as `dict`, would be found when annotations are resolved.
        if name not in own and not hasattr(cls, name) and not hasattr(builtins, name):
            setattr(cls, name, OtherName(name, hint))
    return cls


def own_names(value: Any) -> list[str]:
    """The names that `dir` lists for a value: its members without the other libraries' names."""
    import inspect  # only here: it is slow to import

    kind = type(value)
    return [
        name for name in object.__dir__(value) if not isinstance(inspect.getattr_static(kind, name, None), OtherName)
    ]
