"""
The body of a request: the system prompt, the conversation as turns of content blocks, and the parameters.

Sources: https://platform.claude.com/docs/en/api/messages,
https://platform.claude.com/docs/en/agents-and-tools/tool-use/implement-tool-use (results),
https://platform.claude.com/docs/en/build-with-claude/extended-thinking (what must be sent back)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anyllm.types import CompletionParams, ContentPart, Message, Reasoning
from anyllm.wire._base.block_turns import Block, BlockTurns
from anyllm.wire.anthropic_messages.content import part_block, text_block, thinking_for_provider
from anyllm.wire.anthropic_messages.fields import TEXT, TOOL_USE
from anyllm.wire.anthropic_messages.parameters import thinking_bodies, write_params


def request_bodies(
    params: CompletionParams, address: Mapping[str, Any], provider: str, *, stream: bool
) -> list[dict[str, Any]]:
    """
    The body of a request, and, where an effort became a budget of thinking, the same for models that take none.

    Args:
        address: The fields that say which model, or which version of the API.

    Raises:
        UnsupportedParameterError: the provider does not support what a parameter asks for.
        InvalidRequestError: the parameters cannot be sent at all.
    """
    turns = MessagesTurns(provider)
    system = [block for block in turns.system(params.messages) if block["text"] != ""]
    short = all(block.keys() == {"type", "text"} for block in system)
    body = {
        **address,
        **({"system": "\n\n".join(block["text"] for block in system) if short else system} if system else {}),
        "messages": [{**turn, "content": _short(turn["content"])} for turn in turns.turns(params.messages)],
        **write_params(params, provider),
        **({"stream": True} if stream else {}),
    }
    return thinking_bodies(body, params, provider)


def _short(blocks: list[Block]) -> str | list[Block]:
    """A single block of text is sent as text."""
    if len(blocks) == 1 and blocks[0].keys() == {"type", "text"} and blocks[0]["type"] == TEXT:
        return str(blocks[0]["text"])
    return blocks


class MessagesTurns(BlockTurns):
    def _text(self, text: str) -> Block:
        return text_block(text)

    def _part(self, part: ContentPart) -> list[Block]:
        return [part_block(part, self._provider)]

    def _call(self, call_id: str, name: str, arguments: dict[str, Any]) -> Block:
        return {"type": TOOL_USE, "id": call_id, "name": name, "input": arguments}

    def _result_blocks(self, call_id: str, message: Message) -> list[Block]:
        block: Block = {"type": "tool_result", "tool_use_id": call_id}
        content = message.content
        if isinstance(content, str):
            block["content"] = content
        elif content is not None:
            block["content"] = [part_block(part, self._provider) for part in content]
        return self._with_cache([block], message)

    def _reasoning(self, reasoning: Reasoning | None) -> list[Block]:
        return thinking_for_provider(reasoning)

    def _cached(self, blocks: list[Block], cache_control: Mapping[str, Any]) -> list[Block]:
        blocks[-1].setdefault("cache_control", cache_control)
        return blocks

    def _is_blank(self, block: Block) -> bool:
        return block["type"] == TEXT and not block["text"].strip()

    def _is_system(self, block: Block) -> bool:
        return bool(block["type"] == TEXT)
