"""Requests in Ollama's API, read; and what its clients are told of models."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from server_ollama import PNG, SCHEMA, USER

from anyllm.errors import InvalidRequestError
from anyllm.types import Message, ToolCall
from anyllm.wire._base.model_info import ModelInfo
from anyllm.wire.ollama.dialect import OllamaDialect as Dialect
from anyllm.wire.ollama.models import MEMORY_ANSWER, VERSION_ANSWER, list_answer, model_details, show_answer
from anyllm.wire.ollama.server.request_reader import load_answer, read_chat, read_generate
from anyllm.wire.ollama.server.writer import OllamaChat, OllamaGenerate

DIALECT = Dialect(provider="p")
JPEG = base64.b64encode(b"\xff\xd8\xff rest").decode()


def chat(*messages: Any, **fields: Any) -> Any:
    return read_chat({"model": "m", "messages": list(messages or (USER,)), **fields})


def sent(request: Any, **more: Any) -> Any:
    """What our dialect makes of it for a host of its own."""
    params = request.params.evolve(**more)
    return json.loads(DIALECT.request(params, model=request.params.model, stream=request.stream).body)


# -- there and back ----------------------------------------------------------------------------------------------------


def test_it_streams_unless_told_otherwise():
    assert chat().stream is True
    assert chat(stream=None).stream is True
    assert chat(stream=False).stream is False
    assert read_generate({"model": "m", "prompt": "Hi"}).stream is True


def test_the_answer_is_written_as_it_was_asked_for():
    assert chat().format == OllamaChat("m")
    assert read_generate({"model": "m", "prompt": "Hi"}).format == OllamaGenerate("m")


# -- messages ----------------------------------------------------------------------------------------------------------


def called(*names: str, ids: Any = ()) -> Any:
    made = [{"function": {"name": name, "arguments": {}}} for name in names]
    for item, call_id in zip(made, ids):
        item["id"] = call_id
    return {"role": "assistant", "content": "", "tool_calls": made}


def result(**fields: Any) -> Any:
    return {"role": "tool", "content": "r", **fields}


def test_results_quote_the_call_that_they_answer():
    """By the tool's name, oldest first, of two of one name; by their order, where they name none."""
    first, one, two, three, second, four = chat(
        called("f", "g", "f"),
        result(tool_name="g"),
        result(name="f"),
        result(tool_name="f"),
        called("f", "h"),
        result(),
    ).params.messages
    f1, g, f2 = (call.id for call in first.tool_calls)
    assert [one.tool_call_id, two.tool_call_id, three.tool_call_id] == [g, f1, f2]
    assert four.tool_call_id == second.tool_calls[0].id
    ids = [call.id for message in (first, second) for call in message.tool_calls]
    assert len(set(ids)) == len(ids)
    assert one.name is None  # the call says it


def test_ids_are_kept_and_made_up_ones_are_no_others():
    message, answer = chat(called("f", "f", ids=["call_0"]), result(tool_call_id="call_0")).params.messages
    assert [call.id for call in message.tool_calls] == ["call_0", "call_1"]
    assert answer.tool_call_id == "call_0"


def test_a_result_without_a_call_is_kept():
    (message,) = chat(result(tool_name="f")).params.messages
    assert (message.tool_call_id, message.name, message.content) == (None, "f", "r")


def test_arguments_are_text_as_we_have_them():
    given = {"a": [1, "\u2028é"], "b": None, "large": 10**30}
    message = {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": given}}]}
    (call,) = chat(message).params.messages[0].tool_calls
    assert isinstance(call, ToolCall)
    assert call.parse() == given


def test_images_are_told_by_their_bytes():
    (message,) = chat({**USER, "images": [PNG, JPEG[:4] + "\n" + JPEG[4:]]}).params.messages
    assert [part.type for part in message.content] == ["text", "image_url", "image_url"]
    assert message.content[1].image_url == {"url": f"data:image/png;base64,{PNG}"}
    assert message.content[2].image_url == {"url": f"data:image/jpeg;base64,{JPEG}"}


def test_keys_that_ollama_passes_over_are_passed_over():
    (message,) = chat({**USER, "timestamp": 7, "thinking": "mine", "images": []}).params.messages
    assert message == Message.user("Hi")


# -- parameters --------------------------------------------------------------------------------------------------------


def test_what_is_about_the_machine_is_a_hint():
    """Nearly every client sends it, to hosts that have no use for it as well."""
    options = {"num_ctx": 8192, "num_thread": 4, "num_gpu": 0, "temperature": 0, "num_predict": 5}
    request = chat(options=options, keep_alive="5m", truncate=False)
    assert request.unknown_fields == {}
    assert request.ignorable_fields == {
        "keep_alive": "5m",
        "truncate": False,
        "options": {"num_ctx": 8192, "num_thread": 4, "num_gpu": 0},
    }
    assert (request.params.temperature, request.params.max_tokens) == (0, 5)


def test_what_steers_the_answer_is_not_a_hint_unless_it_is_off():
    off = {"repeat_penalty": 1.0, "typical_p": 1, "mirostat": 0, "presence_penalty": 0.0, "top_k": None}
    request = chat(options={**off, "top_k": 40, "min_p": 0.1})
    assert request.unknown_fields == {"options": {"top_k": 40, "min_p": 0.1}}
    off.pop("top_k")
    assert chat(options=off).unknown_fields == {}
    assert chat(options=off).ignorable_fields == {"options": off}
    assert chat(options={"repeat_penalty": 1.2, "top_k": 1}).unknown_fields == {
        "options": {"repeat_penalty": 1.2, "top_k": 1}
    }


@pytest.mark.parametrize(("longest", "ours"), [(-1, None), (-2, None), (0, None), (7, 7), (7.0, 7)])
def test_a_longest_answer_that_is_none_is_none(longest, ours):
    assert chat(options={"num_predict": longest}).params.max_tokens == ours


def test_thinking_of_no_level_is_medium():
    assert (chat(think=True).params.reasoning_effort, chat(think=None).params.reasoning_effort) == ("medium", None)


def test_formats():
    assert chat(format="json").params.response_format == {"type": "json_object"}
    assert chat(format="").params.response_format is None
    assert chat(format=SCHEMA).params.response_format["json_schema"]["schema"] == SCHEMA


# -- generate ----------------------------------------------------------------------------------------------------------


def test_a_prompt_is_a_conversation():
    request = read_generate(
        {
            "model": "m",
            "prompt": "Hi",
            "system": "Be brief.",
            "images": [PNG],
            "think": False,
            "raw": False,
            "context": [],
        }
    )
    system, user = request.params.messages
    assert system == Message.system("Be brief.")
    assert (user.text, user.content[1].image_url["url"][:14]) == ("Hi", "data:image/png")
    assert (request.params.reasoning_effort, request.unknown_fields) == ("none", {})


@pytest.mark.parametrize("given", [{"suffix": "x"}, {"template": "x"}, {"raw": True}, {"context": [1]}], ids=str)
def test_what_only_generate_can_do_is_refused(given):
    """An Ollama server that we ask as well: we ask it through /api/chat, which would pass over it."""
    with pytest.raises(InvalidRequestError) as raised:
        read_generate({"model": "m", "prompt": "Hi", **given})
    assert raised.value.param in given


# -- loading -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chat_request", "message"),
    [
        (read_chat({"model": "m", "messages": []}), {"message": {"role": "assistant", "content": ""}}),
        (read_chat({"model": "m"}), {"message": {"role": "assistant", "content": ""}}),
        (read_generate({"model": "m"}), {"response": ""}),
        (read_generate({"model": "m", "prompt": "", "system": "x"}), {"response": ""}),
    ],
)
def test_a_request_without_a_question_loads_the_model(chat_request, message):
    assert chat_request.params.messages == ()
    time = "2023-11-14T22:13:20.500000000Z"
    expected = {"model": "m", "created_at": time, **message, "done": True, "done_reason": "load"}
    assert json.loads(load_answer(chat_request, 1_700_000_000.5)) == expected
    assert DIALECT.response(load_answer(chat_request, 7)).raw_finish_reason == "load"


def test_or_lets_it_go():
    for keep_alive in (0, "0", "0s"):
        request = read_generate({"model": "m", "keep_alive": keep_alive})
        assert json.loads(load_answer(request, 7))["done_reason"] == "unload"
    assert json.loads(load_answer(read_generate({"model": "m", "keep_alive": -1}), 7))["done_reason"] == "load"


# -- about models ------------------------------------------------------------------------------------------------------

MODEL = ModelInfo(
    name="anthropic/claude-x",
    provider="anthropic",
    context_length=200_000,
    capabilities=("completion", "tools", "vision"),
    created=1_700_000_000,
)
TAGGED = ModelInfo(name="openrouter/deepseek/r1:free")


def test_models_are_listed_under_names_with_tags():
    """Clients add ``:latest`` to names without one, then look for that."""
    first, second = json.loads(list_answer([MODEL, TAGGED], 1_800_000_000))["models"]
    assert first["name"] == first["model"] == "anthropic/claude-x:latest"
    assert second["name"] == second["model"] == "openrouter/deepseek/r1:free"
    assert (first["modified_at"][:10], second["modified_at"][:10]) == ("2023-11-14", "2027-01-15")
    assert first["digest"] != second["digest"]


def test_our_own_dialect_reads_what_is_told_of_models():
    first, _ = DIALECT.models(list_answer([MODEL, TAGGED], 0))
    assert (first.id, first.created) == ("anthropic/claude-x:latest", 1_700_000_000)
    details = model_details(show_answer(MODEL, 0))
    assert details.capabilities == ("completion", "tools", "vision")
    assert (details.context_length, details.family) == (200_000, "anthropic")
    assert model_details(show_answer(TAGGED, 0)).context_length is None


def test_editors_in_rust_find_every_field_that_they_need():
    """Zed's: a missing one, or one of another type, and there are no models at all."""
    texts = {"format": str, "family": str, "families": list, "parameter_size": str, "quantization_level": str}
    for model in json.loads(list_answer([MODEL, TAGGED], 0))["models"]:
        for name, kind in {"name": str, "modified_at": str, "size": int, "digest": str, "details": dict}.items():
            assert type(model[name]) is kind
        assert {name: type(model["details"][name]) for name in texts} == texts
    shown = json.loads(show_answer(MODEL, 0))
    for name in ("modelfile", "parameters", "template"):
        assert type(shown[name]) is str
    assert {name: type(shown["details"][name]) for name in texts} == texts
    architecture = shown["model_info"]["general.architecture"]
    assert shown["model_info"][f"{architecture}.context_length"] == 200_000
    assert "tools" in shown["capabilities"]


@pytest.mark.long
def test_the_official_client_reads_what_is_told_of_models(monkeypatch):
    ollama = pytest.importorskip("ollama")
    httpx = pytest.importorskip("httpx")
    bodies = {"/api/tags": list_answer([MODEL], 7), "/api/show": show_answer(MODEL, 7), "/api/ps": MEMORY_ANSWER}
    client = ollama.Client(host="http://127.0.0.1:1")
    client._client.close()
    answer = httpx.MockTransport(lambda request: httpx.Response(200, content=bodies[request.url.path]))
    client._client = httpx.Client(base_url="http://127.0.0.1:1", transport=answer)
    (model,) = client.list().models
    assert (model.model, model.details.family, model.size) == ("anthropic/claude-x:latest", "anthropic", 0)
    assert model.modified_at.timestamp() == 1_700_000_000
    shown = client.show("anthropic/claude-x")
    assert shown.capabilities == ["completion", "tools", "vision"]
    assert shown.modelinfo["anthropic.context_length"] == 200_000
    assert client.ps().models == []


def test_the_version_is_one_that_clients_can_compare():
    major, minor, patch = map(int, json.loads(VERSION_ANSWER)["version"].split("."))
    assert (major, minor, patch) >= (0, 6, 4)  # the least that Copilot's takes


@pytest.mark.parametrize("created", [-1, 10**15, 10**30])
def test_any_time_can_be_written(created):
    assert json.loads(list_answer([ModelInfo(name="m", created=created)], 7))["models"][0]["modified_at"].endswith("Z")
