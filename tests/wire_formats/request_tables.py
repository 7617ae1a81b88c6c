"""
Requests of each format: our parameters, what stands in the body for them, and why a server sends on another body.

Without messages, the conversation is "Hi". Most requests are sent on as they came, and rows end after the body.
"""

from __future__ import annotations

import base64
from typing import Any

from anyllm.types import ContentPart, FunctionCall, Message, Reasoning, ToolCall

HI: Any = {"role": "user", "content": "Hi"}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
EMPTY = {"type": "object", "properties": {}}
FUNCTION = {"name": "f", "description": "Does it.", "parameters": SCHEMA}
TOOL = {"type": "function", "function": FUNCTION}
STRICT_TOOL = {"type": "function", "function": {**FUNCTION, "strict": True}}
BARE_TOOL = {"type": "function", "function": {"name": "g"}}
NAMED = {"type": "function", "function": {"name": "f"}}
JSON = {"type": "json_object"}
FORM = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}
CACHE = {"type": "ephemeral"}
CALL: Any = {"id": "k1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
OTHER_CALL: Any = {"id": "k2", "type": "function", "function": {"name": "g", "arguments": "{}"}}
CUSTOM_CALL = ToolCall("k3", FunctionCall("c", "ls"), "custom")
PNG, PNG_BASE64 = b"\x89PNG\r\n\x1a\n", "iVBORw0KGgo="
PNG_URL = f"data:image/png;base64,{PNG_BASE64}"
PDF, PDF_BASE64 = b"%PDF-1", "JVBERi0x"
PDF_URL = f"data:application/pdf;base64,{PDF_BASE64}"
NULLS = "a null says nothing"
SIGNATURE = base64.b64encode(b"\xff\xfe\xfb").decode()


def talk(*messages: Any) -> dict[str, Any]:
    return {"messages": list(messages)}


def show(*parts: Any) -> dict[str, Any]:
    """A message of the user with these parts."""
    return talk(Message.user(list(parts)))


def text(content: str, **fields: Any) -> dict[str, Any]:
    return {"type": "text", "text": content, **fields}


def by_name(name: str) -> dict[str, Any]:
    return {"tool_choice": {"type": "function", "function": {"name": name}}}


# -- Anthropic's Messages ----------------------------------------------------------------------------------------------

CLAUDE_TOOL = {"name": "f", "description": "Does it.", "input_schema": SCHEMA}
SEARCH = {"type": "web_search_20250305", "name": "web_search", "max_uses": 3}
CLAUDE_IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG_BASE64}}
OTHER_MARK = {"type": "ephemeral", "ttl": "1h"}


def claude_choice(**choice: Any) -> dict[str, Any]:
    return {"tools": [CLAUDE_TOOL], "tool_choice": choice}


def thinking(budget: int, max_tokens: int = 4096) -> dict[str, Any]:
    return {"thinking": {"type": "enabled", "budget_tokens": budget}, "max_tokens": max_tokens}


def use(call_id: str, name: str, **fields: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": call_id, "name": name, "input": {}, **fields}


def result(call_id: str, **fields: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": call_id, **fields}


def document(source: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"type": "document", "source": source, **fields}


def said_and(block: Any) -> dict[str, Any]:
    """The message of `show` with one part and the text "and"."""
    return talk({"role": "user", "content": [block, text("and")]})


def answered(*content: Any) -> dict[str, Any]:
    return talk(HI, {"role": "assistant", "content": list(content)})


def thought(content: Any = None, **fields: Any) -> dict[str, Any]:
    """A conversation whose answer has reasoning."""
    return talk(HI, Message.assistant("Yes", reasoning={"content": content, **fields}))


ANTHROPIC: list[Any] = [
    ({}, {}),
    ({"max_tokens": 10, "user": "u"}, {"max_tokens": 10, "metadata": {"user_id": "u"}}),
    ({"temperature": 0.2, "top_p": 0.5}, {"temperature": 0.2, "top_p": 0.5}),
    ({"stop": ["a", "b"]}, {"stop_sequences": ["a", "b"]}),
    ({"stop": "END"}, {"stop_sequences": ["END"]}),
    ({"n": 1, "logprobs": False, "stream_options": {"include_usage": True}, "response_format": text("")}, {}),
    ({"extra_body": {"top_k": 5, "max_tokens": 1}}, {"top_k": 5, "max_tokens": 1}),
    ({"response_format": FORM}, {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}}),
    # tools
    (
        {"tools": [{**TOOL, "cache_control": CACHE}, SEARCH]},
        {"tools": [{**CLAUDE_TOOL, "cache_control": CACHE}, SEARCH]},
    ),
    (
        {"tools": [STRICT_TOOL, BARE_TOOL]},
        {"tools": [{**CLAUDE_TOOL, "strict": True}, {"name": "g", "input_schema": EMPTY}]},
    ),
    ({"functions": [FUNCTION]}, {"tools": [CLAUDE_TOOL]}),
    ({"tools": [TOOL], "tool_choice": "auto"}, claude_choice(type="auto")),
    ({"tools": [TOOL], "tool_choice": "none"}, claude_choice(type="none")),
    ({"tools": [TOOL], "tool_choice": "none", "parallel_tool_calls": False}, claude_choice(type="none")),
    ({"tools": [TOOL], "tool_choice": "required"}, claude_choice(type="any")),
    ({"tools": [TOOL], **by_name("f")}, claude_choice(type="tool", name="f")),
    ({"tools": [TOOL], "function_call": {"name": "f"}}, claude_choice(type="tool", name="f")),
    ({"tools": [TOOL], "parallel_tool_calls": False}, claude_choice(type="auto", disable_parallel_tool_use=True)),
    ({"tools": [TOOL], "parallel_tool_calls": True}, {"tools": [CLAUDE_TOOL]}),
    (
        {"tools": [TOOL], **by_name("f"), "parallel_tool_calls": False},
        claude_choice(type="tool", name="f", disable_parallel_tool_use=True),
    ),
    # thinking, which has room in max_tokens
    ({"reasoning_effort": "auto"}, {}),
    ({"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}),
    ({"reasoning_effort": "minimal"}, thinking(1024)),
    ({"reasoning_effort": "low"}, thinking(1024)),
    ({"reasoning_effort": "medium"}, thinking(4096, 8192)),
    ({"reasoning_effort": "high"}, thinking(16384, 20480)),
    ({"reasoning_effort": "xhigh"}, thinking(32000, 36096)),
    ({"reasoning_effort": "max", "max_tokens": 40000}, thinking(32000, 40000)),
    ({"reasoning_effort": "low", "max_tokens": 100}, thinking(1024, 1124)),
    ({"thinking_budget": 2000}, thinking(2000)),
    ({"thinking_budget": 2000, "max_tokens": 2000}, thinking(2000, 4000)),
    ({"thinking_budget": 2000, "reasoning_effort": "high"}, thinking(2000)),
    ({"thinking_budget": 0, "max_tokens": 7}, {"thinking": {"type": "disabled"}, "max_tokens": 7}),
    # system messages, wherever they stand
    (talk(Message.system(""), HI), {}),
    (talk(Message.system("A"), HI, Message("developer", "B")), {"system": "A\n\nB"}),
    (talk(Message.system([text("A")]), HI), {"system": "A"}),
    (talk(Message.system("A", cache_control=CACHE), HI), {"system": [text("A", cache_control=CACHE)]}),
    (
        talk(Message.system([text("A"), text("B", cache_control=CACHE)]), HI, Message.system("C")),
        {"system": [text("A"), text("B", cache_control=CACHE), text("C")]},
    ),
    (
        talk(Message.system([text("A"), text("B")], cache_control=CACHE), HI),
        {"system": [text("A"), text("B", cache_control=CACHE)]},
    ),
    # turns
    (
        talk(Message.user("A"), Message.user([text("B")]), Message.assistant("C"), Message.assistant("D")),
        talk(
            {"role": "user", "content": [text("A"), text("B")]},
            {"role": "assistant", "content": [text("C"), text("D")]},
        ),
    ),
    # Models end with an answer of nothing after results, and refuse to have empty text sent back.
    (
        talk(Message.user("A"), Message.assistant(None), Message.assistant(" \n"), Message.user("B")),
        talk({"role": "user", "content": [text("A"), text("B")]}),
    ),
    (talk(HI, Message.assistant(refusal="No.")), talk(HI, {"role": "assistant", "content": "No."})),
    (
        talk(
            HI,
            Message.assistant("", tool_calls=[CALL, {"id": "b.1:x", "function": {"name": "g", "arguments": ""}}]),
            Message.tool("42", "k1", name="f"),
            Message.tool([text("43"), ContentPart.from_image(PNG)], "b.1:x", cache_control=CACHE),
            Message.user("And?"),
        ),
        talk(
            HI,
            {"role": "assistant", "content": [use("k1", "f", input={"a": 1}), use("b_1_x", "g")]},
            {
                "role": "user",
                "content": [
                    result("k1", content="42"),
                    result("b_1_x", content=[text("43"), CLAUDE_IMAGE], cache_control=CACHE),
                    text("And?"),
                ],
            },
        ),
    ),
    (talk(Message.tool(None, "a")), talk({"role": "user", "content": [result("a")]})),
    # a mark moves to the last block
    (talk(Message.user("A", cache_control=CACHE)), talk({"role": "user", "content": [text("A", cache_control=CACHE)]})),
    (
        talk(HI, Message.assistant("A", tool_calls=[OTHER_CALL], cache_control=CACHE)),
        answered(text("A"), use("k2", "g", cache_control=CACHE)),
    ),
    (
        talk(Message.user([text("A", cache_control=OTHER_MARK)], cache_control=CACHE)),
        talk({"role": "user", "content": [text("A", cache_control=OTHER_MARK)]}),
    ),
    # parts
    (show(text("A", cache_control=CACHE), "and"), said_and(text("A", cache_control=CACHE))),
    (
        show(ContentPart.from_image("https://a.example/x.png", detail="low"), "and"),
        said_and({"type": "image", "source": {"type": "url", "url": "https://a.example/x.png"}}),
    ),
    (show(ContentPart.from_file(PNG_URL), "and"), said_and(CLAUDE_IMAGE)),
    (
        show(ContentPart.from_file(PDF_URL, filename="a.pdf"), "and"),
        said_and(document({"type": "base64", "media_type": "application/pdf", "data": PDF_BASE64}, title="a.pdf")),
    ),
    (
        show(ContentPart.from_file("https://a.example/x.pdf"), "and"),
        said_and(document({"type": "url", "url": "https://a.example/x.pdf"})),
    ),
    (
        show({"type": "file", "file": {"file_id": "file_1"}, "citations": {"enabled": True}}, "and"),
        said_and(document({"type": "file", "file_id": "file_1"}, citations={"enabled": True})),
    ),
    (
        show(ContentPart.from_file(b"h\xc3\xa9", media_type="text/csv"), "and"),
        said_and(document({"type": "text", "media_type": "text/plain", "data": "hé"})),
    ),
    (
        show({"type": "search_result", "source": "s", "title": "t", "content": [text("x")]}, "and"),
        said_and({"type": "search_result", "source": "s", "title": "t", "content": [text("x")]}),
    ),
    # reasoning goes back first, unless nobody signed it or it is another format's
    (thought("Hm", signature="s"), answered({"type": "thinking", "thinking": "Hm", "signature": "s"}, text("Yes"))),
    (
        thought(signature="s", field="thinking"),
        answered({"type": "thinking", "thinking": "", "signature": "s"}, text("Yes")),
    ),
    (thought("Hm"), talk(HI, {"role": "assistant", "content": "Yes"})),
    (thought("Hm", signature="s", field="reasoning_content"), talk(HI, {"role": "assistant", "content": "Yes"})),
    (thought(details=[{"type": "reasoning.text", "text": "Hm"}]), talk(HI, {"role": "assistant", "content": "Yes"})),
    (
        thought(details=[{"type": "redacted_thinking", "data": "x"}, {"type": "thinking", "thinking": "", "index": 2}]),
        answered({"type": "redacted_thinking", "data": "x"}, {"type": "thinking", "thinking": ""}, text("Yes")),
    ),
    (
        talk(Message.user("Yes", reasoning={"content": "Hm", "signature": "s"})),
        talk({"role": "user", "content": "Yes"}),
    ),
]

# -- Google's generateContent ------------------------------------------------------------------------------------------

GOOGLE_FUNCTION = {"name": "f", "description": "Does it.", "parametersJsonSchema": SCHEMA}


def config(**settings: Any) -> dict[str, Any]:
    return {"generationConfig": settings}


def budget(tokens: int, *, shown: bool = True) -> dict[str, Any]:
    return config(thinkingConfig={"thinkingBudget": tokens, **({"includeThoughts": True} if shown else {})})


def level(name: str) -> dict[str, Any]:
    return config(thinkingConfig={"thinkingLevel": name, "includeThoughts": True})


def mode(name: str, **fields: Any) -> dict[str, Any]:
    return {"toolConfig": {"functionCallingConfig": {"mode": name, **fields}}}


def contents(*turns: Any) -> dict[str, Any]:
    """Turns of the user and the model in turn, each a text or a list of parts."""
    parts = [[{"text": turn}] if isinstance(turn, str) else turn for turn in turns]
    return {"contents": [{"role": ("user", "model")[at % 2], "parts": turn} for at, turn in enumerate(parts)]}


def blob(kind: str, data: str) -> dict[str, Any]:
    return {"inlineData": {"mimeType": kind, "data": data}}


def uri(address: str, **fields: Any) -> dict[str, Any]:
    return contents([{"fileData": {**fields, "fileUri": address}}])


def google_call(name: str, args: Any = None, **fields: Any) -> dict[str, Any]:
    return {"functionCall": {"name": name, "args": args or {}, **fields}}


def google_result(name: str, response: Any, **fields: Any) -> dict[str, Any]:
    return {"functionResponse": {"name": name, "response": response, **fields}}


def called(name: str, call_id: str, **fields: Any) -> dict[str, Any]:
    return {"id": call_id, "function": {"name": name, "arguments": "{}"}, **fields}


def answer_of_tool(content: Any) -> dict[str, Any]:
    return talk(HI, Message.assistant(tool_calls=[called("f", "x1")]), Message.tool(content, "x1"))


def google_results(response: Any, **fields: Any) -> dict[str, Any]:
    return contents("Hi", [google_call("f", id="x1")], [google_result("f", response, id="x1", **fields)])


GEMINI: list[Any] = [
    ({}, {}),
    (
        {"temperature": 0, "top_p": 0.9, "max_tokens": 5, "stop": "a", "n": 2, "seed": 4},
        config(temperature=0, topP=0.9, maxOutputTokens=5, stopSequences=["a"], candidateCount=2, seed=4),
    ),
    ({"stop": ["a", "b"]}, config(stopSequences=["a", "b"])),
    ({"logprobs": True, "top_logprobs": 3}, config(responseLogprobs=True, logprobs=3)),
    ({"response_format": {"type": "text"}, "stream_options": {"include_usage": True}}, {}),
    ({"response_format": JSON}, config(responseMimeType="application/json")),
    ({"response_format": FORM}, config(responseMimeType="application/json", responseJsonSchema=SCHEMA)),
    (
        {"temperature": 0, "seed": 1, "extra_body": {"generationConfig": {"topK": 3, "temperature": 1}}},
        config(temperature=1, seed=1, topK=3),
    ),
    # thinking, in the words of the model
    ({"reasoning_effort": "auto"}, {}),
    ({"reasoning_effort": "none"}, budget(0, shown=False)),
    ({"thinking_budget": 0}, budget(0, shown=False)),
    ({"thinking_budget": -1}, budget(-1)),
    ({"thinking_budget": 99}, budget(99)),
    ({"reasoning_effort": "minimal"}, budget(512)),
    ({"reasoning_effort": "low"}, budget(1024)),
    ({"model": "gemini-2.5-pro", "reasoning_effort": "medium"}, budget(8192)),
    ({"model": "gemini-2.5-pro", "reasoning_effort": "high"}, budget(24576)),
    ({"model": "gemini-2.5-pro", "reasoning_effort": "max"}, budget(24576)),
    ({"model": "gemini-1.5-flash-latest", "reasoning_effort": "low"}, budget(1024)),
    ({"model": "gemini-live-2.5-flash", "reasoning_effort": "low"}, budget(1024)),
    ({"model": "gemma-3", "reasoning_effort": "low"}, budget(1024)),
    ({"model": "gemini-3-pro", "reasoning_effort": "low"}, level("LOW")),
    ({"model": "models/gemini-3.1-pro", "reasoning_effort": "high"}, level("HIGH")),
    ({"model": "gemini-12-x", "reasoning_effort": "xhigh"}, level("XHIGH")),
    ({"model": "gemini-flash-latest", "reasoning_effort": "minimal"}, level("MINIMAL")),
    ({"model": "gemini-3-pro", "reasoning_effort": "none"}, budget(0, shown=False)),
    ({"model": "gemini-3-pro", "thinking_budget": 9}, budget(9)),
    ({"model": "gemini-3-pro", "reasoning_effort": "low", "thinking_budget": 9}, budget(9)),
    # tools
    (
        {"tools": [STRICT_TOOL, {"google_search": {}}, BARE_TOOL]},
        {"tools": [{"functionDeclarations": [GOOGLE_FUNCTION, {"name": "g"}]}, {"google_search": {}}]},
    ),
    ({"functions": [FUNCTION]}, {"tools": [{"functionDeclarations": [GOOGLE_FUNCTION]}]}),
    ({"tools": []}, {}),
    ({"tool_choice": "auto"}, mode("AUTO")),
    ({"tool_choice": "none"}, mode("NONE")),
    ({"tool_choice": "required"}, mode("ANY")),
    (by_name("f"), mode("ANY", allowedFunctionNames=["f"])),
    ({"function_call": {"name": "f"}}, mode("ANY", allowedFunctionNames=["f"])),
    # turns
    (
        talk(Message.system("A"), HI, Message("developer", [text("B")])),
        {"systemInstruction": {"parts": [{"text": "A"}, {"text": "B"}]}},
    ),
    (
        talk(HI, Message.user("a"), Message.assistant("b"), Message.assistant("c"), Message.user("d")),
        contents([{"text": "Hi"}, {"text": "a"}], [{"text": "b"}, {"text": "c"}], "d"),
        "a server takes the pieces of an answer for one text",
    ),
    (talk(HI, Message.assistant(), Message.user("b")), contents([{"text": "Hi"}, {"text": "b"}])),
    (talk(HI, Message.assistant(refusal="No.")), contents("Hi", "No.")),
    # parts
    (show(ContentPart.from_image(PNG)), contents([blob("image/png", PNG_BASE64)])),
    (
        show(ContentPart.from_image("https://h.example/a/b.WEBP?x=1.png", detail="high")),
        uri("https://h.example/a/b.WEBP?x=1.png", mimeType="image/webp"),
    ),
    (show(ContentPart.from_image("https://h.example/a")), uri("https://h.example/a")),
    (show(ContentPart.from_file("gs://bucket/x.pdf")), uri("gs://bucket/x.pdf", mimeType="application/pdf")),
    (show(ContentPart.from_file(PDF, filename="x.pdf")), contents([blob("application/pdf", PDF_BASE64)])),
    (show(ContentPart("file", file={"file_id": "files/abc"})), uri("files/abc")),
    (show(ContentPart.from_audio(b"ID3", format="mp3")), contents([blob("audio/mpeg", "SUQz")])),
    (
        show(ContentPart("text", text="a", extra={"videoMetadata": {"fps": 1}})),
        contents([{"text": "a", "videoMetadata": {"fps": 1}}]),
    ),
    (show(ContentPart("x", extra={"executableCode": {"code": "1"}})), contents([{"executableCode": {"code": "1"}}])),
    # results are objects
    (answer_of_tool('{"a": 1}'), google_results({"a": 1})),
    *((answer_of_tool(content), google_results({"result": content})) for content in ("sunny", "[1]", "3", "")),
    (
        answer_of_tool([text("see"), ContentPart.from_image(PNG)]),
        google_results({"result": "see"}, parts=[blob("image/png", PNG_BASE64)]),
    ),
    (
        talk(Message("tool", "x", name="f", tool_call_id="q"), Message("function", "y", name="g")),
        contents([google_result("f", {"result": "x"}, id="q"), google_result("g", {"result": "y"})]),
    ),
    # Ids that we made up are not told; results follow the order of their calls, also where ids come again.
    (
        talk(
            HI,
            Message.assistant(tool_calls=[called("f", "call_0"), called("f", "call_1")]),
            Message.tool("second", "call_1"),
            Message.tool("first", "call_0"),
            Message.assistant(tool_calls=[called("g", "call_0")]),
            Message.tool("third", "call_0"),
            Message.user("b"),
        ),
        contents(
            "Hi",
            [google_call("f"), google_call("f")],
            [google_result("f", {"result": "first"}), google_result("f", {"result": "second"})],
            [google_call("g")],
            [google_result("g", {"result": "third"}), {"text": "b"}],
        ),
    ),
    # reasoning and signatures
    (
        thought("t", signature=SIGNATURE),
        contents("Hi", [{"text": "t", "thoughtSignature": SIGNATURE, "thought": True}, {"text": "Yes"}]),
    ),
    (thought(signature=SIGNATURE), contents("Hi", [{"text": "Yes"}, {"text": "", "thoughtSignature": SIGNATURE}])),
    (
        talk(
            HI,
            Message.assistant(
                tool_calls=[called("f", "x1", extra_content={"google": {"thought_signature": SIGNATURE}})]
            ),
        ),
        contents("Hi", [{**google_call("f", id="x1"), "thoughtSignature": SIGNATURE}]),
    ),
    # Another provider's signature would be refused.
    (
        thought(
            "t", signature="s", field="thinking", details=[{"type": "thinking", "thinking": "t", "signature": "s"}]
        ),
        contents("Hi", "Yes"),
    ),
    (thought(signature="s", field="thinking"), contents("Hi", "Yes")),
    (
        thought("t", details=[{"type": "reasoning.text", "text": "t"}]),
        contents("Hi", [{"text": "t", "thought": True}, {"text": "Yes"}]),
    ),
]

# -- Ollama ------------------------------------------------------------------------------------------------------------

OLLAMA_CALL = {"id": "k1", "function": {"name": "f", "arguments": {"a": 1}}}


def turn(name: str) -> list[Message]:
    return [Message.assistant(tool_calls=[called(name, "call_0")]), Message.tool("42", "call_0")]


def ollama_turn(name: str) -> list[Any]:
    call = {"id": "call_0", "function": {"name": name, "arguments": {}}}
    return [
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "42", "tool_name": name, "tool_call_id": "call_0"},
    ]


OLLAMA: list[Any] = [
    ({}, {}),
    (
        {"temperature": 0, "top_p": 0.5, "max_tokens": 10, "stop": "x", "seed": 7},
        {"options": {"temperature": 0, "top_p": 0.5, "num_predict": 10, "stop": ["x"], "seed": 7}},
    ),
    ({"stop": ["a", "b"]}, {"options": {"stop": ["a", "b"]}}),
    ({"n": 1, "tool_choice": "auto", "stream_options": {"include_usage": True}}, {}),
    ({"logprobs": True, "top_logprobs": 3}, {"logprobs": True, "top_logprobs": 3}),
    ({"response_format": {"type": "text"}}, {}),
    ({"response_format": JSON}, {"format": "json"}),
    ({"response_format": FORM}, {"format": SCHEMA}),
    ({"reasoning_effort": "auto"}, {}),
    ({"reasoning_effort": "none"}, {"think": False}),
    ({"reasoning_effort": "minimal"}, {"think": "low"}),
    ({"reasoning_effort": "low"}, {"think": "low"}),
    ({"reasoning_effort": "medium"}, {"think": "medium"}),
    ({"reasoning_effort": "high"}, {"think": "high"}),
    ({"reasoning_effort": "xhigh"}, {"think": "high"}),
    ({"reasoning_effort": "max"}, {"think": "max"}),
    ({"thinking_budget": 0}, {"think": False}),
    ({"thinking_budget": 0, "reasoning_effort": "none"}, {"think": False}),
    ({"extra_body": {"think": True}, "reasoning_effort": "low"}, {"think": True}),
    (
        {"temperature": 0.5, "seed": 1, "extra_body": {"keep_alive": "10m", "options": {"num_ctx": 8192, "seed": 2}}},
        {"keep_alive": "10m", "options": {"temperature": 0.5, "seed": 2, "num_ctx": 8192}},
    ),
    ({"temperature": 1, "extra_body": {"options": None}}, {"options": None}, NULLS),
    (
        {"tools": [STRICT_TOOL, {"type": "web_search", "limit": 3}], "functions": [{"name": "g"}]},
        {"tools": [STRICT_TOOL, {"type": "web_search", "limit": 3}, BARE_TOOL]},
    ),
    ({"tools": [TOOL]}, {"tools": [TOOL]}),
    # messages
    (
        talk(Message.system("A", name="ops"), Message("developer", "B"), HI),
        talk({"role": "system", "content": "A"}, {"role": "system", "content": "B"}, HI),
    ),
    (
        talk(HI, Message.assistant(refusal="No."), Message.assistant()),
        talk(HI, {"role": "assistant", "content": "No."}, {"role": "assistant", "content": ""}),
    ),
    (
        show(text("See "), ContentPart.from_image(PNG_URL), "this."),
        talk({"role": "user", "content": "See this.", "images": [PNG_BASE64]}),
    ),
    (
        thought("Hm", field="reasoning_content", signature="s"),
        talk(HI, {"role": "assistant", "content": "Yes", "thinking": "Hm"}),
    ),
    (thought(signature="s"), talk(HI, {"role": "assistant", "content": "Yes"})),
    (talk(Message.user("Yes", reasoning="Hm")), talk({"role": "user", "content": "Yes"})),
    # Ids that we made up begin anew with each answer: a result names the function of the turn before it.
    (talk(HI, *turn("f"), *turn("g")), talk(HI, *ollama_turn("f"), *ollama_turn("g"))),
    (
        talk(HI, Message.assistant(tool_calls=[CALL], reasoning="Hm"), Message.tool("42", "k1")),
        talk(
            HI,
            {"role": "assistant", "content": "", "thinking": "Hm", "tool_calls": [OLLAMA_CALL]},
            {"role": "tool", "content": "42", "tool_name": "f", "tool_call_id": "k1"},
        ),
    ),
    (
        talk(Message.assistant(tool_calls=[{"function": {"name": "f"}}])),
        talk({"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]}),
        "a server gives calls ids",
    ),
    (talk(Message.tool("42", "k")), talk({"role": "tool", "content": "42", "tool_call_id": "k"})),
    *(
        (talk(message), talk({"role": "tool", "content": "42", "tool_name": "f"}))
        for message in (Message.tool("42", "", name="f"), Message("function", "42", name="f"))
    ),
]

# -- OpenAI's chat completions -----------------------------------------------------------------------------------------

CUSTOM_TOOL = {"type": "custom", "custom": {"name": "c", "format": {"type": "text"}}}
PHOTO = "https://example.com/photo.jpg"
WAV, WAV_BASE64 = b"RIFF\0\0\0\0WAVE", "UklGRgAAAABXQVZF"
MORE = {"store": True, "metadata": {"a": "b"}, "verbosity": "low", "presence_penalty": 0.5}


def same(**fields: Any) -> Any:
    """A request that is written alike in OpenAI's format."""
    return fields, fields


def parts(*ours: Any, **theirs: Any) -> Any:
    """A message with one part beside a text, and that part as it is sent."""
    return show("See", *ours), talk({"role": "user", "content": [text("See"), theirs]})


def chosen(choice: Any) -> Any:
    return same(tools=[TOOL, CUSTOM_TOOL], tool_choice=choice)


CHAT: list[Any] = [
    ({}, {}),
    same(messages=[{"role": "user", "content": 'Grüße, 世界 😀 "\\ \n\x00\u2028'}]),
    (
        talk(Message.system("A", name="ops"), Message.user("Hi", name="bo"), Message.assistant("Yes?"), HI),
        talk(
            {"role": "system", "content": "A", "name": "ops"},
            {"role": "user", "content": "Hi", "name": "bo"},
            {"role": "assistant", "content": "Yes?"},
            HI,
        ),
    ),
    same(messages=[{"role": "developer", "content": "Be brief."}, HI]),
    same(temperature=0.2, top_p=0.5, seed=7, n=2, user="u"),
    same(temperature=0, top_p=1.0, seed=0, logprobs=False, parallel_tool_calls=False, tools=[TOOL]),
    same(stop="END"),
    same(stop=["END", "\n"]),
    ({"max_tokens": 5}, {"max_completion_tokens": 5}, "most providers take the older name"),
    same(logprobs=True, top_logprobs=3),
    same(tools=[STRICT_TOOL, BARE_TOOL, CUSTOM_TOOL], parallel_tool_calls=True),
    *(chosen(choice) for choice in ("auto", "none", "required", NAMED, {"type": "custom", "custom": {"name": "c"}})),
    chosen({"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [BARE_TOOL]}}),
    (
        talk(
            HI,
            Message.assistant("So.", tool_calls=[CALL, OTHER_CALL]),
            Message.tool("42", "k1"),
            Message.tool(["4", "3"], "k2"),
        ),
        talk(
            HI,
            {"role": "assistant", "content": "So.", "tool_calls": [CALL, OTHER_CALL]},
            {"role": "tool", "tool_call_id": "k1", "content": "42"},
            {"role": "tool", "tool_call_id": "k2", "content": [text("4"), text("3")]},
        ),
    ),
    (
        talk(HI, Message.assistant(tool_calls=[CALL, CUSTOM_CALL])),
        talk(
            HI,
            {
                "role": "assistant",
                "tool_calls": [CALL, {"id": "k3", "type": "custom", "custom": {"name": "c", "input": "ls"}}],
            },
        ),
    ),
    (
        talk(Message.assistant(tool_calls=[{**CALL, "index": 3, "extra_content": {"g": {"s": "x"}}}])),
        talk({"role": "assistant", "tool_calls": [{**CALL, "extra_content": {"g": {"s": "x"}}}]}),
    ),
    (talk(Message.assistant(refusal="No.")), talk({"role": "assistant", "refusal": "No."})),
    # keys and parts of other providers
    (talk(Message.user("x", cache_control=CACHE)), talk({"role": "user", "content": "x", "cache_control": CACHE})),
    parts(
        ContentPart("image_url", image_url={"url": PHOTO}, extra={"a": 1}),
        type="image_url",
        image_url={"url": PHOTO},
        a=1,
    ),
    parts({"type": "video_url", "video_url": {"url": "u"}}, type="video_url", video_url={"url": "u"}),
    parts(ContentPart.from_image(PHOTO), type="image_url", image_url={"url": PHOTO}),
    parts(ContentPart.from_image(PNG, detail="low"), type="image_url", image_url={"url": PNG_URL, "detail": "low"}),
    parts(ContentPart.from_audio(WAV), type="input_audio", input_audio={"data": WAV_BASE64, "format": "wav"}),
    parts(ContentPart.from_file(PDF, filename="a.pdf"), type="file", file={"filename": "a.pdf", "file_data": PDF_URL}),
    parts({"type": "file", "file": {"file_id": "file-1"}}, type="file", file={"file_id": "file-1"}),
    same(response_format=JSON),
    same(response_format=FORM),
    same(reasoning_effort="minimal"),
    same(reasoning_effort="none"),
    ({"reasoning_effort": "auto"}, {}),
    same(functions=[FUNCTION], function_call="auto"),
    same(functions=[FUNCTION], function_call={"name": "f"}),
    (
        talk(
            HI, Message.assistant(tool_calls=[ToolCall(None, FunctionCall("f", "{}"))]), Message("function", "2", "f")
        ),
        talk(
            HI,
            {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}},
            {"role": "function", "content": "2", "name": "f"},
        ),
    ),
    # OpenAI refuses keys that its messages do not have.
    (
        talk(
            Message.assistant("4", reasoning=Reasoning("Hm.", "s", "reasoning_content", [{"type": "reasoning.text"}]))
        ),
        talk({"role": "assistant", "content": "4"}),
    ),
    ({"extra_body": MORE}, MORE),
    (
        {"extra_body": {"new": [1, {"x": None}], "temperature": 0.9, "user": None}, "user": "u"},
        {"new": [1, {"x": None}], "temperature": 0.9, "user": None},
        NULLS,
    ),
]

# -- OpenAI's Responses ------------------------------------------------------------------------------------------------

FLAT_TOOL = {"type": "function", **FUNCTION, "strict": False}
FLAT_NAME = {"type": "function", "name": "f"}
GRAMMAR = {"syntax": "lark", "definition": "start: /a/"}
LOGPROBS = "message.output_text.logprobs"


def items(*found: Any) -> dict[str, Any]:
    return {"input": list(found)}


def output(*content: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": list(content)}


def output_text(content: str) -> dict[str, Any]:
    return {"type": "output_text", "text": content}


def form(**fields: Any) -> dict[str, Any]:
    return {"text": {"format": fields}}


def part_and(part: Any, **theirs: Any) -> Any:
    return show("See", part), items({"role": "user", "content": [{"type": "input_text", "text": "See"}, theirs]})


ROLES = [{"role": role, "content": role} for role in ("system", "user", "developer", "user")]
CALL_ITEM = {"type": "function_call", "call_id": "k1", "name": "f", "arguments": '{"a":1}'}
RESPONSES: list[Any] = [
    ({}, {}),
    same(temperature=0.5, top_p=0.9, user="u", parallel_tool_calls=False),
    ({"max_tokens": 9}, {"max_output_tokens": 9}),
    ({"n": 1, "logprobs": False, "reasoning_effort": "auto", "stream_options": {"include_usage": True}}, {}),
    ({"tools": [TOOL]}, {"tools": [FLAT_TOOL]}),
    ({"functions": [FUNCTION]}, {"tools": [FLAT_TOOL]}),
    (
        {"tools": [{"type": "function", "function": {"name": "f", "strict": True}}]},
        {"tools": [{"type": "function", "name": "f", "parameters": EMPTY, "strict": True}]},
    ),
    same(tools=[FLAT_TOOL, {"type": "web_search"}]),
    (
        {"tools": [{"type": "custom", "custom": {"name": "c", "format": {"type": "grammar", "grammar": GRAMMAR}}}]},
        {"tools": [{"type": "custom", "name": "c", "format": {"type": "grammar", **GRAMMAR}}]},
    ),
    same(tool_choice="required"),
    ({"function_call": "none"}, {"tool_choice": "none"}),
    ({"tool_choice": NAMED}, {"tool_choice": FLAT_NAME}),
    ({"tool_choice": {"type": "custom", "custom": {"name": "c"}}}, {"tool_choice": {"type": "custom", "name": "c"}}),
    same(tool_choice={"type": "web_search_preview"}),
    (
        {"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [NAMED]}}},
        {"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [FLAT_NAME]}},
    ),
    ({"response_format": {"type": "text"}}, form(type="text")),
    ({"response_format": JSON}, form(type="json_object")),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA, "strict": True}}},
        form(type="json_schema", name="n", schema=SCHEMA, strict=True),
    ),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA}}},
        form(type="json_schema", name="answer", schema=SCHEMA),
    ),
    ({"reasoning_effort": "high"}, {"reasoning": {"effort": "high"}}),
    ({"logprobs": True}, {"include": [LOGPROBS]}),
    ({"top_logprobs": 2}, {"include": [LOGPROBS], "top_logprobs": 2}),
    ({"extra_body": {"store": False, "temperature": 1}, "temperature": 0}, {"store": False, "temperature": 1}),
    (
        {"extra_body": {"reasoning": {"summary": "auto"}}, "reasoning_effort": "low"},
        {"reasoning": {"effort": "low", "summary": "auto"}},
    ),
    (
        {"extra_body": {"include": ["reasoning.encrypted_content"]}, "logprobs": True},
        {"include": [LOGPROBS, "reasoning.encrypted_content"]},
    ),
    ({"extra_body": {"include": None}, "logprobs": True}, {"include": None}, NULLS),
    # messages stay in their place
    (talk(*ROLES), items(*ROLES)),
    (
        talk(HI, Message.assistant("So", tool_calls=[CALL, CUSTOM_CALL], reasoning="Hm"), Message.tool("1", "k1")),
        items(
            HI,
            output(output_text("So")),
            CALL_ITEM,
            {"type": "custom_tool_call", "call_id": "k3", "name": "c", "input": "ls"},
            {"type": "function_call_output", "call_id": "k1", "output": "1"},
        ),
    ),
    (
        talk(Message.assistant(tool_calls=[CUSTOM_CALL]), Message.tool([ContentPart.from_image(PNG)], "k3")),
        items(
            {"type": "custom_tool_call", "call_id": "k3", "name": "c", "input": "ls"},
            {
                "type": "custom_tool_call_output",
                "call_id": "k3",
                "output": [{"type": "input_image", "image_url": PNG_URL}],
            },
        ),
    ),
    (
        talk(Message.assistant("So.", refusal="No.")),
        items(output(output_text("So."), {"type": "refusal", "refusal": "No."})),
    ),
    part_and(ContentPart.from_image(PHOTO, detail="low"), type="input_image", image_url=PHOTO, detail="low"),
    part_and(ContentPart.from_image(PNG), type="input_image", image_url=PNG_URL),
    part_and(ContentPart.from_file(PDF, filename="a.pdf"), type="input_file", file_data=PDF_URL, filename="a.pdf"),
    part_and({"type": "file", "file": {"file_id": "file-1"}}, type="input_file", file_id="file-1"),
    part_and(ContentPart.from_file("https://e.org/a.pdf"), type="input_file", file_url="https://e.org/a.pdf"),
    part_and({"type": "input_image", "file_id": "file-2"}, type="input_image", file_id="file-2"),
    part_and(text("!", cache_control=CACHE), type="input_text", text="!", cache_control=CACHE),
]

TABLES: dict[str, list[Any]] = {
    "anthropic_messages": ANTHROPIC,
    "gemini": GEMINI,
    "ollama": OLLAMA,
    "openai_chat": CHAT,
    "openai_responses": RESPONSES,
}
