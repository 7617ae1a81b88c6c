"""What the formats of both directions call finish reasons, tokens and errors, and what each of them cannot express."""

from __future__ import annotations

import json
from typing import Any

import pytest
from choice_streams import collected
from hypothesis import given, settings
from hypothesis import strategies as st
from profiles import BY_NAME, chat_event, gemini_event, ollama_line

from anyllm import errors
from anyllm._framing.body_events import JSONEvent
from anyllm.errors import IncompleteStreamError, InvalidRequestError, MalformedStreamError, UnsupportedParameterError
from anyllm.types import ChatCompletion, CompletionParams, ContentPart, Message
from anyllm.wire._base.surrogate_joiner import mend

ANTHROPIC, GEMINI, OLLAMA = "anthropic_messages", "gemini", "ollama"
CHAT, RESPONSES = "openai_chat", "openai_responses"


def dialect_of(name: str) -> Any:
    return BY_NAME[name].dialect(provider="p")


def read(name: str, body: Any) -> ChatCompletion:
    """A whole answer."""
    answer: ChatCompletion = dialect_of(name).response(json.dumps(body).encode())
    return answer


# -- finish reasons ----------------------------------------------------------------------------------------------------

#: What each format calls our reasons; the first is that of the smallest stream.
FINISH_REASONS = {
    ANTHROPIC: {
        "stop": "end_turn stop_sequence",
        "length": "max_tokens model_context_window_exceeded",
        "tool_calls": "tool_use",
        "content_filter": "refusal",
        "unknown": "pause_turn compaction something_new",
    },
    GEMINI: {
        "stop": "STOP",
        "length": "MAX_TOKENS",
        "content_filter": "SAFETY RECITATION BLOCKLIST PROHIBITED_CONTENT SPII IMAGE_SAFETY IMAGE_RECITATION "
        "MODEL_ARMOR",
        "unknown": "OTHER LANGUAGE NO_IMAGE CONTINUATION",
    },
    OLLAMA: {"stop": "stop", "length": "length", "unknown": "load unload"},
    CHAT: {
        "stop": "stop eos end_turn stop_sequence COMPLETE STOP",
        "length": "length max_tokens model_context_window_exceeded model_length",
        "tool_calls": "tool_calls function_call tool_use",
        "content_filter": "content_filter sensitive refusal guardrail_intervened",
        "unknown": "pause_turn abort stopped unknown tool_calls_2",
    },
}


def stream_with_end(name: str, raw: Any) -> Any:
    """Chunks, answer and error of a stream that ends with this reason."""
    first = FINISH_REASONS[name]["stop"].split()[0]
    bodies = [json.dumps(body).replace(f'"{first}"', json.dumps(raw)) for body in BY_NAME[name].stream(["a"])]
    return collected(dialect_of(name), map(JSONEvent, bodies))


@pytest.mark.parametrize(
    ("name", "raw", "reason"),
    [
        (name, raw, reason)
        for name, reasons in FINISH_REASONS.items()
        for reason, words in reasons.items()
        for raw in words.split()
    ],
)
def test_finish_reason_is_normalised_beside_the_providers(name: str, raw: str, reason: str) -> None:
    chunks, answer, error = stream_with_end(name, raw)
    assert error is None
    assert [(chunk.finish_reason, chunk.raw_finish_reason) for chunk in chunks if chunk.finish_reason] == [
        (reason, raw)
    ]
    assert (answer.finish_reason, answer.raw_finish_reason) == (reason, raw)


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        *((GEMINI, raw) for raw in ("", None, 0, "FINISH_REASON_UNSPECIFIED")),
        *((CHAT, raw) for raw in ("", "null", None, False)),
    ],
)
def test_value_that_is_no_finish_reason_ends_nothing(name: str, raw: Any) -> None:
    chunks, answer, error = stream_with_end(name, raw)
    assert isinstance(error, IncompleteStreamError)
    assert {(chunk.finish_reason, chunk.raw_finish_reason) for chunk in chunks} == {(None, None)}
    assert answer.finish_reason is None


# -- characters in two pieces ------------------------------------------------------------------------------------------


def pieces_of(name: str, field: str, texts: list[str]) -> list[Any]:
    """A stream with these texts in a field beside the text of the answer."""
    if name == CHAT:
        return [*(chat_event({field: text}) for text in texts), chat_event({}, "stop")]
    kind = "input_json_delta" if field == "partial_json" else f"{field}_delta"
    deltas = [{"type": "content_block_delta", "index": 0, "delta": {"type": kind, field: text}} for text in texts]
    first, *last = BY_NAME[name].stream([])
    call = [block(type="tool_use", id="a", name="f", input="x")] if field == "partial_json" else []
    return [first, *call, *deltas, *last]


@pytest.mark.parametrize(
    ("name", "field"),
    [(ANTHROPIC, "thinking"), (ANTHROPIC, "partial_json"), (CHAT, "reasoning_content"), (CHAT, "refusal")],
)
@given(text=st.text(alphabet="a\ud83d\ude00é", max_size=12), size=st.integers(1, 3))
@settings(max_examples=100)
def test_text_cut_anywhere_is_the_mended_text(name: str, field: str, text: str, size: int) -> None:
    """Of the answer's own text, test_conformance_transcripts.py says so."""
    bodies = pieces_of(name, field, [text[at : at + size] for at in range(0, len(text), size)])
    chunks, answer, _ = collected(dialect_of(name), [JSONEvent(json.dumps(body)) for body in bodies])
    found = {
        "partial_json": answer.tool_calls[0].arguments if answer.tool_calls else "",
        "refusal": answer.to_message().refusal or "",
    }
    assert found.get(field, answer.reasoning) == (mend(text) or ("x" if field == "partial_json" else ""))
    json.dumps([chunk.to_dict(raw=True) for chunk in chunks], ensure_ascii=False).encode()


# -- tokens ------------------------------------------------------------------------------------------------------------

NO_DETAILS = (None, None, None)


def chat_usage(completion: int = 2, total: Any = 12, **fields: Any) -> dict[str, Any]:
    return {"prompt_tokens": 10, "completion_tokens": completion, "total_tokens": total, **fields}


def reasoned(tokens: int, completion: int, total: int) -> dict[str, Any]:
    return chat_usage(completion, total, completion_tokens_details={"reasoning_tokens": tokens})


def google(**counts: Any) -> dict[str, Any]:
    return {f"{name}TokenCount": count for name, count in counts.items()}


#: A provider's counts, and ours: prompt, completion and total, of which reasoning, read from a cache and written to it.
USAGE: list[tuple[str, Any, Any]] = [
    (ANTHROPIC, {"input_tokens": 3, "output_tokens": 4}, (3, 4, 7, *NO_DETAILS)),
    (ANTHROPIC, {"input_tokens": 3.0, "output_tokens": "4"}, (3, 4, 7, *NO_DETAILS)),
    (
        ANTHROPIC,
        {"input_tokens": 3, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 0, "output_tokens": 4},
        (8, 4, 12, None, 5, 0),
    ),
    (ANTHROPIC, {"output_tokens": 4, "output_tokens_details": {"thinking_tokens": 3}}, (0, 4, 4, 3, None, None)),
    (ANTHROPIC, {"output_tokens": 4, "input_tokens": -1, "output_tokens_details": []}, (0, 4, 4, *NO_DETAILS)),
    *((ANTHROPIC, raw, None) for raw in ({"speed": "fast"}, [1])),
    (GEMINI, google(prompt=10, candidates=5, total=15), (10, 5, 15, *NO_DETAILS)),
    (GEMINI, google(prompt=10, thoughts=7, total=17), (10, 7, 17, 7, None, None)),
    (GEMINI, google(prompt=10, candidates=5, toolUsePrompt=4, total=19), (14, 5, 19, *NO_DETAILS)),
    (GEMINI, google(prompt=10, candidates=5, toolUsePrompt=4, total=15), (10, 5, 15, *NO_DETAILS)),
    (GEMINI, google(prompt=10, cachedContent=8, total=10), (10, 0, 10, None, 8, None)),
    (GEMINI, google(prompt="10", candidates=5.0), (10, 5, 15, *NO_DETAILS)),
    (GEMINI, google(prompt=-1, total=4), (0, 0, 4, *NO_DETAILS)),
    *((GEMINI, raw, None) for raw in (None, [], "x", {}, {"trafficType": "ON_DEMAND"}, google(prompt="many"))),
    (OLLAMA, {"prompt_eval_count": 4.0, "eval_count": "2", "total_duration": 3, "x_count": 1}, (4, 2, 6, *NO_DETAILS)),
    (OLLAMA, {"total_duration": 3}, None),
    (OLLAMA, {"prompt_eval_count": -1, "eval_count": None}, None),
    (OLLAMA, {"prompt_eval_count": True, "eval_count": [1]}, None),
    (CHAT, chat_usage(prompt_tokens_details={"cached_tokens": 7, "cache_write_tokens": 3}), (10, 2, 12, None, 7, 3)),
    (CHAT, chat_usage(prompt_cache_hit_tokens=7, prompt_cache_miss_tokens=3), (10, 2, 12, None, 7, None)),
    (CHAT, chat_usage(cached_tokens=7), (10, 2, 12, None, 7, None)),
    (CHAT, chat_usage(num_cached_tokens=7), (10, 2, 12, None, 7, None)),
    (
        CHAT,
        chat_usage(prompt_tokens_details={"cached_tokens": 0}, cache_creation_input_tokens=3),
        (10, 2, 12, None, 0, 3),
    ),
    (CHAT, chat_usage(prompt_tokens_details=None), (10, 2, 12, *NO_DETAILS)),
    # Reasoning is part of the completion: as OpenAI counts, in the total only (xAI), nowhere (Vercel's Gemini), counted
    # by another tokenizer, and none.
    (CHAT, reasoned(100, 102, 112), (10, 102, 112, 100, None, None)),
    (CHAT, reasoned(100, 2, 112), (10, 102, 112, 100, None, None)),
    (CHAT, reasoned(100, 2, 12), (10, 102, 112, 100, None, None)),
    (CHAT, reasoned(369, 365, 375), (10, 365, 375, 369, None, None)),
    (CHAT, reasoned(0, 2, 12), (10, 2, 12, 0, None, None)),
    # The prompt includes what was read from a cache, unless that is no part of this prompt.
    (CHAT, chat_usage(total=112, cache_read_input_tokens=100), (110, 2, 112, None, 100, None)),
    (CHAT, chat_usage(cache_read_input_tokens=100), (10, 2, 12, *NO_DETAILS)),
    (CHAT, {"prompt_tokens": 10.0, "completion_tokens": "2", "total_tokens": None}, (10, 2, 12, *NO_DETAILS)),
    *((CHAT, raw, None) for raw in ({"prompt_tokens": None}, {"cost": 1}, [1])),
    (RESPONSES, {"input_tokens": 10, "output_tokens": 2, "total_tokens": 12}, (10, 2, 12, *NO_DETAILS)),
    (RESPONSES, {"input_tokens": 10.0, "output_tokens": "2", "total_tokens": None}, (10, 2, 12, *NO_DETAILS)),
    (
        RESPONSES,
        {
            "input_tokens": 10,
            "output_tokens": 2,
            "input_tokens_details": {"cached_tokens": 7, "cache_write_tokens": 3},
            "output_tokens_details": {"reasoning_tokens": 1},
        },
        (10, 2, 12, 1, 7, 3),
    ),
    (RESPONSES, {"input_tokens": 10, "output_tokens": -1, "total_tokens": "x"}, (10, 0, 10, *NO_DETAILS)),
    (
        RESPONSES,
        {"input_tokens": 10, "input_tokens_details": None, "output_tokens_details": [1]},
        (10, 0, 10, *NO_DETAILS),
    ),
    *((RESPONSES, raw, None) for raw in (None, {}, [1], {"input_tokens": None}, {"cost": 1})),
]


@pytest.mark.parametrize(("name", "raw", "counts"), USAGE)
def test_tokens_are_counted_alike_for_all_providers(name: str, raw: Any, counts: Any) -> None:
    body = BY_NAME[name].whole("a")
    if name == OLLAMA:
        body = {key: value for key, value in body.items() if not key.endswith("_count")} | raw
    else:
        body["usageMetadata" if name == GEMINI else "usage"] = raw
    usage = read(name, body).usage
    if counts is None:
        assert usage is None
        return
    assert usage is not None
    details = (usage.reasoning_tokens, usage.cache_read_tokens, usage.cache_write_tokens)
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens, *details) == counts
    assert usage.raw == raw


# -- what cannot be read -----------------------------------------------------------------------------------------------


def block(**content: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": 0, "content_block": content}


def block_delta(**fields: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": 0, **fields}


def start(**message: Any) -> dict[str, Any]:
    return {"type": "message_start", "message": message}


def google_call(**call: Any) -> Any:
    return gemini_event({"functionCall": call})


MALFORMED: dict[str, list[Any]] = {
    ANTHROPIC: [
        {"type": "message_start"},
        {"type": "message_start", "message": []},
        *(start(id={}), start(content="x"), start(content=[1]), start(stop_reason=[])),
        {"type": "message", "content": 7},
        {"type": "content_block_start", "index": 0},
        {"type": "content_block_start", "index": [], "content_block": {}},
        {"type": "content_block_start", "index": True, "content_block": {}},
        *(block(type="text", text=[]), block(type="thinking", signature=1), block(type="tool_use", id="a")),
        block(type="tool_use", id={}, name="f"),
        *(block_delta(), block_delta(delta="x"), block_delta(delta={"type": "text_delta", "text": 1})),
        block_delta(delta={"type": "input_json_delta", "partial_json": "{"}),
        *({"type": "message_delta", "delta": delta} for delta in (1, {"stop_reason": True})),
    ],
    GEMINI: [
        *({"candidates": shape} for shape in ("x", [1], [{"content": "x"}], [{"content": [1]}])),
        {"candidates": [{"content": {"parts": {"text": "x"}}}]},
        *(
            gemini_event(part)
            for part in ("text", {"text": 1}, {"text": False}, {"text": ["a"]}, {"functionCall": "f"})
        ),
        *(google_call(args={"a": 1}), google_call(name=5, args={}), google_call(name="f", args=[1])),
        google_call(name="f", partialArgs=3, willContinue=True),
        google_call(name="f", partialArgs=[{"jsonPath": "a"}]),
        google_call(name="f", partialArgs=[{"jsonPath": "$.a", "stringValue": 3}]),
        *(gemini_event({"text": "a"}, index="x"), gemini_event({"text": "a"}, finishReason=["STOP"])),
    ],
    OLLAMA: [
        *({"message": message} for message in ("x", [7], {"content": 7}, {"content": [{"type": "text"}]})),
        {"message": {"content": "", "thinking": True}},
        *({"message": {"tool_calls": calls}} for calls in ("x", [1], [{}], [{"id": 7, "function": {"name": "f"}}])),
        *(
            {"message": {"tool_calls": [{"function": function}]}}
            for function in ("f", {"arguments": {}}, {"name": 7}, {"name": "f", "arguments": [1]})
        ),
        *({"message": {}, "model": []}, {"message": {}, "done": True, "done_reason": 7}, {"response": 7}),
    ],
    CHAT: [
        *({"choices": shape} for shape in ({"0": {}}, "x", [7], [{"index": [], "delta": {}}])),
        {"choices": [{"index": True, "delta": {}}]},
        *(chat_event(delta) for delta in ("text", {"content": True}, {"content": [[1]]})),
        *(chat_event({"tool_calls": calls}) for calls in ("x", [1], [{"function": "f"}])),
        chat_event({"tool_calls": [{"index": "a", "function": {"name": "f"}}]}),
        *(chat_event({}, {"x": 1}), {"id": {}, "choices": []}, {"model": [1], "choices": []}),  # type: ignore[arg-type]
    ],
    RESPONSES: [{"type": "response.output_text.delta", "delta": 1}, [1, 2, 3, 4, 5]],
}


@pytest.mark.parametrize(("name", "body"), [(name, body) for name, bodies in MALFORMED.items() for body in bodies])
def test_event_that_cannot_be_read_is_malformed(name: str, body: Any) -> None:
    with pytest.raises(MalformedStreamError) as caught:
        dialect_of(name).decoder().feed(JSONEvent(json.dumps(body)))
    assert caught.value.provider == "p"
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize("name", [GEMINI, OLLAMA, CHAT])
@pytest.mark.parametrize("items", [7, [5], [["x"]], [{}], [{"values": ["x"]}], [{"embedding": ["x"]}], [{"size": 7}]])
def test_items_that_are_no_models_or_vectors_are_malformed(name: str, items: Any) -> None:
    body = json.dumps({"data": items, "embeddings": items, "models": items}).encode()
    for read_items in (dialect_of(name).embeddings, dialect_of(name).models):
        with pytest.raises(MalformedStreamError):
            read_items(body)


@pytest.mark.parametrize(
    ("name", "body", "kind", "words"),
    [
        (ANTHROPIC, {"error": {"type": "overloaded_error", "message": "no room"}}, "OverloadedError", "no room"),
        (ANTHROPIC, {"content": [], "error": {"message": "slow", "code": 429}}, "RateLimitError", "slow"),
        (GEMINI, {"promptFeedback": {"blockReason": "SAFETY"}}, "ContentFilterError", "blocked: SAFETY"),
        (GEMINI, {"error": {"code": 429, "message": "slow", "status": "RESOURCE_EXHAUSTED"}}, "RateLimitError", "slow"),
        (GEMINI, [{"error": {"code": 429, "message": "slow"}}], "RateLimitError", "slow"),
        (GEMINI, gemini_event(finishReason="MALFORMED_FUNCTION_CALL"), "ServerError", "MALFORMED_FUNCTION_CALL"),
        (OLLAMA, {**ollama_line(""), "done": True, "error": "it broke"}, "APIError", "broke"),
        (OLLAMA, ollama_line("Hi"), "IncompleteStreamError", "ended before"),
        (CHAT, {"error": {"message": "slow down", "code": 429}}, "RateLimitError", "slow down"),
        (
            CHAT,
            {"base_resp": {"status_code": 1004, "status_msg": "login fail"}, "choices": None},
            "AuthenticationError",
            "login fail",
        ),
        (CHAT, [{"error": {"code": 503, "message": "no room"}}], "OverloadedError", "no room"),
        (RESPONSES, {"error": {"message": "No.", "code": "invalid_api_key"}}, "AuthenticationError", "No."),
        (RESPONSES, {"detail": "Not here."}, "APIError", "Not here."),
        (RESPONSES, {"object": "response"}, "MalformedStreamError", "no output"),
        (RESPONSES, [], "MalformedStreamError", "a list"),
        (RESPONSES, {"output": [], "status": "queued"}, "IncompleteStreamError", "queued"),
        (RESPONSES, {"output": [], "status": "cancelled"}, "APIError", "cancelled"),
        (
            RESPONSES,
            {"output": [], "status": "failed", "error": {"code": "rate_limit_exceeded", "message": "Slow."}},
            "RateLimitError",
            "Slow.",
        ),
    ],
)
def test_whole_answer_that_is_none_raises_its_error(name: str, body: Any, kind: str, words: str) -> None:
    with pytest.raises(getattr(errors, kind), match=words) as caught:
        read(name, body)
    assert type(caught.value) is getattr(errors, kind)


# -- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "status", "message", "kind"),
    [
        (ANTHROPIC, 400, "prompt is too long: 215000 tokens > 200000 maximum", "ContextLengthExceededError"),
        (ANTHROPIC, 400, "Your credit balance is too low to access the Anthropic API.", "InsufficientFundsError"),
        (ANTHROPIC, 400, "Output blocked by content filtering policy", "ContentFilterError"),
        (ANTHROPIC, 400, "seed: Extra inputs are not permitted", "UnsupportedParameterError"),
        (ANTHROPIC, 404, "Not found", "InvalidRequestError"),
        (GEMINI, 400, "API key not valid. Please pass a valid API key.", "AuthenticationError"),
        (
            *(GEMINI, 400, "The input token count (1048577) exceeds the maximum number of tokens allowed (1048576)."),
            "ContextLengthExceededError",
        ),
        (GEMINI, 400, "Function call is missing a thought_signature", "InvalidRequestError"),
        (GEMINI, 404, "models/gemini-9 is not found for API version v1beta", "ModelNotFoundError"),
        (GEMINI, 404, "Publisher Model `publishers/google/models/x` was not found", "ModelNotFoundError"),
        (GEMINI, 404, "CachedContent not found", "InvalidRequestError"),
        (OLLAMA, 404, 'model "x" not found, try pulling it first', "ModelNotFoundError"),
        (OLLAMA, 404, "model 'x' not found", "ModelNotFoundError"),
        (OLLAMA, 400, "registry.ollama.ai/library/x does not support tools", "InvalidRequestError"),
        (OLLAMA, 400, "the input length exceeds the context length", "ContextLengthExceededError"),
        (OLLAMA, 400, "prompt too long; exceeded max context length by 7 tokens", "ContextLengthExceededError"),
        (OLLAMA, 403, "this model requires a subscription, upgrade for access", "PermissionDeniedError"),
        (OLLAMA, 429, "you've reached your hourly usage limit", "RateLimitError"),
        (OLLAMA, 500, "model requires more system memory (9.0 GiB) than is available (7.1 GiB)", "ServerError"),
        (OLLAMA, 503, "server busy, please try again. maximum pending requests exceeded", "OverloadedError"),
        (CHAT, 400, "Input is too long for requested model.", "ContextLengthExceededError"),
        (CHAT, 400, "the request exceeds the available context size", "ContextLengthExceededError"),
        (CHAT, 500, "prompt exceeds context size", "ContextLengthExceededError"),
        (CHAT, 429, "Your account balance: insufficient balance, please recharge", "InsufficientFundsError"),
        (CHAT, 400, "violates our content policy", "ContentFilterError"),
        (CHAT, 403, "Your chosen model requires moderation: flagged for moderation", "ContentFilterError"),
        (CHAT, 404, "The model `x` does not exist", "ModelNotFoundError"),
        (CHAT, 404, "Unknown deployment", "ModelNotFoundError"),
        (CHAT, 404, "Not Found", "InvalidRequestError"),
        (CHAT, 400, "Model x not found", "ModelNotFoundError"),
        (CHAT, 400, "The model does not support tools", "InvalidRequestError"),
        (CHAT, 400, "Unrecognized request argument supplied: top_k", "UnsupportedParameterError"),
        (CHAT, 400, "Incorrect API key provided: sk-x", "AuthenticationError"),
        (CHAT, 500, "The engine is currently overloaded", "OverloadedError"),
        (CHAT, 405, "Method not allowed", "InvalidRequestError"),
        (CHAT, 408, "Timed out", "ServerError"),
        (CHAT, 409, "Conflict", "InvalidRequestError"),
        (CHAT, 418, "teapot", "InvalidRequestError"),
        (CHAT, 599, "Connection timed out", "ServerError"),
    ],
)
def test_status_and_words_give_the_class(name: str, status: int, message: str, kind: str) -> None:
    body = BY_NAME[name].refusal(message)
    for form in (body, [body]):
        error = dialect_of(name).error(status, {}, json.dumps(form).encode())
        assert type(error) is getattr(errors, kind)
        assert (error.status_code, error.provider, error.body) == (status, "p", form)
        assert error.is_retryable == (status == 409 or kind in ("ServerError", "OverloadedError", "RateLimitError"))
        assert message in str(error)


# -- what a format cannot express --------------------------------------------------------------------------------------

NAMED = {"type": "function", "function": {"name": "f"}}


@pytest.mark.parametrize(
    ("name", "fields", "param"),
    [
        (ANTHROPIC, {"n": 2}, "n"),
        (ANTHROPIC, {"seed": 0}, "seed"),
        (ANTHROPIC, {"logprobs": True}, "logprobs"),
        (ANTHROPIC, {"top_logprobs": 2}, "top_logprobs"),
        (ANTHROPIC, {"stream_options": {"include_obfuscation": False}}, "stream_options"),
        (ANTHROPIC, {"response_format": {"type": "json_object"}}, "response_format"),
        (GEMINI, {"user": "u"}, "user"),
        (GEMINI, {"parallel_tool_calls": False}, "parallel_tool_calls"),
        (GEMINI, {"stream_options": {"include_obfuscation": False}}, "stream_options"),
        (OLLAMA, {"user": "u"}, "user"),
        (OLLAMA, {"parallel_tool_calls": False}, "parallel_tool_calls"),
        *((OLLAMA, {"n": n}, "n") for n in (0, 2)),
        *((OLLAMA, {"tool_choice": choice}, "tool_choice") for choice in ("required", "none", NAMED)),
        (OLLAMA, {"tool_choice": {"type": "allowed_tools"}}, "tool_choice"),
        (OLLAMA, {"function_call": {"name": "f"}}, "function_call"),
        (OLLAMA, {"thinking_budget": 1024}, "thinking_budget"),
        (OLLAMA, {"stream_options": {"include_usage": True, "other": 1}}, "stream_options"),
        (CHAT, {"thinking_budget": 5}, "thinking_budget"),
        (CHAT, {"reasoning_effort": "huge"}, "reasoning_effort"),
        (RESPONSES, {"stop": "x"}, "stop"),
        (RESPONSES, {"seed": 1}, "seed"),
        (RESPONSES, {"thinking_budget": 0}, "thinking_budget"),
        (RESPONSES, {"n": 2}, "n"),
    ],
)
def test_parameter_that_the_format_lacks_is_refused_by_name(name: str, fields: dict[str, Any], param: str) -> None:
    params = CompletionParams("m", [Message.user("Hi")], **fields)
    with pytest.raises(UnsupportedParameterError, match=param) as caught:
        dialect_of(name).request(params, model="m", stream=True)
    assert (caught.value.param, caught.value.provider, caught.value.status_code) == (param, "p", None)


@pytest.mark.parametrize(
    ("name", "fields", "words"),
    [
        (ANTHROPIC, {"tools": [{"type": "function", "function": {}}]}, "name"),
        (OLLAMA, {"tools": [{"type": "function", "function": {}}]}, "name"),
        (OLLAMA, {"tools": [7]}, "a tool must be an object"),
        (OLLAMA, {"response_format": {"type": "json_schema"}}, "schema"),
    ],
)
def test_parameter_of_the_wrong_shape_is_refused(name: str, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidRequestError, match=words) as caught:
        dialect_of(name).request(CompletionParams("m", [Message.user("Hi")], **fields), model="m", stream=True)
    assert caught.value.provider == "p"


def shown(kind: str, value: Any = None, **fields: Any) -> Message:
    """A message of the user with one part."""
    return Message.user([{"type": kind, **({kind: value} if value is not None else {}), **fields}])


def calling(arguments: str, **fields: Any) -> Message:
    return Message.assistant(tool_calls=[{"function": {"name": "f", "arguments": arguments}, **fields}])


SOUND = {"data": "AAAA", "format": "wav"}
PDF, PNG = "data:application/pdf;base64,AAAA", ContentPart.from_image(b"\x89PNG\r\n\x1a\n")
NAMED_USER = Message.user("Hi", name="Ada")


@pytest.mark.parametrize(
    ("name", "kind", "param", "message"),
    [
        (ANTHROPIC, UnsupportedParameterError, "input_audio", shown("input_audio", {"data": "x"})),
        (
            ANTHROPIC,
            UnsupportedParameterError,
            "file",
            Message.user([ContentPart.from_file(b"x", media_type="font/x")]),
        ),
        (ANTHROPIC, InvalidRequestError, "file", Message.user([ContentPart.from_file(b"\xff", media_type="text/csv")])),
        (ANTHROPIC, InvalidRequestError, "messages", shown("image_url")),
        (ANTHROPIC, UnsupportedParameterError, "name", NAMED_USER),
        (ANTHROPIC, UnsupportedParameterError, "messages", Message.system([PNG])),
        (ANTHROPIC, InvalidRequestError, "messages", Message("tool", "42")),
        (ANTHROPIC, InvalidRequestError, "messages", calling("{}")),
        (ANTHROPIC, InvalidRequestError, "messages", calling("{", id="a")),
        (GEMINI, UnsupportedParameterError, "name", NAMED_USER),
        (GEMINI, InvalidRequestError, "messages", Message.tool("x", "unknown")),
        (GEMINI, InvalidRequestError, "messages", shown("image_url", {"url": ""})),
        (GEMINI, InvalidRequestError, "messages", calling("[1]", id="a")),
        (OLLAMA, UnsupportedParameterError, "image_url", shown("image_url", {"url": "https://host.example/a.png"})),
        (OLLAMA, UnsupportedParameterError, "input_audio", shown("input_audio", SOUND)),
        (OLLAMA, UnsupportedParameterError, "file", shown("file", {"file_data": PDF})),
        (OLLAMA, UnsupportedParameterError, "file", shown("file", {"file_id": "f1"})),
        (OLLAMA, UnsupportedParameterError, "video_url", shown("video_url", text="x")),
        (OLLAMA, UnsupportedParameterError, "annotations", shown("text", "x", annotations=[1])),
        *((OLLAMA, InvalidRequestError, "messages", calling(text, id="k")) for text in ("{", "[1]", "text")),
        (RESPONSES, InvalidRequestError, "messages", Message("tool", "x")),
        (RESPONSES, InvalidRequestError, "messages", Message("function", "x", name="f")),
        (RESPONSES, InvalidRequestError, "messages", calling("{}")),
        (RESPONSES, UnsupportedParameterError, "messages.name", NAMED_USER),
        (RESPONSES, UnsupportedParameterError, "input_audio", shown("input_audio", SOUND)),
        (RESPONSES, InvalidRequestError, "messages", shown("image_url", {})),
    ],
)
def test_message_that_the_format_has_no_place_for_is_refused(
    name: str, kind: Any, param: str, message: Message
) -> None:
    with pytest.raises(kind) as caught:
        dialect_of(name).request(CompletionParams("m", [message]), model="m", stream=True)
    assert type(caught.value) is kind
    assert (caught.value.param, caught.value.provider) == (param, "p")
