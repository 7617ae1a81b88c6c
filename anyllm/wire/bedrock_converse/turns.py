"""
The conversation in Converse's JSON: a system prompt, and turns of user and assistant that are lists of blocks.

Sources: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Message.html,
https://docs.aws.amazon.com/bedrock/latest/userguide/tool-use-inference-call.html (results)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from anyllm.types import ContentPart, Message, Reasoning
from anyllm.wire._base.block_turns import Block, BlockTurns
from anyllm.wire.bedrock_converse.content_parts import cache_point, part_blocks, with_unique_names
from anyllm.wire.bedrock_converse.reasoning import blocks_to_send_back

#: What a system prompt may hold.
_SYSTEM = {"text", "cachePoint", "guardContent"}


def conversation(messages: Iterable[Message], provider: str) -> dict[str, Any]:
    """
    The fields ``messages`` and ``system``, of which the latter is left out when it would be empty.

    Raises:
        InvalidRequestError: a message has a role, a part or a call that cannot be sent.
        UnsupportedParameterError: a message holds what the provider does not support.
    """
    messages, writer = tuple(messages), ConverseTurns(provider)
    names: set[str] = set()
    turns = [{**turn, "content": with_unique_names(turn["content"], names)} for turn in writer.turns(messages)]
    system = [block for block in writer.system(messages) if not _is_blank(block)]
    return {"messages": turns, **({"system": system} if system else {})}


class ConverseTurns(BlockTurns):
    def _text(self, text: str) -> Block:
        return {"text": text}

    def _part(self, part: ContentPart) -> list[Block]:
        return part_blocks(part, self._provider)

    def _call(self, call_id: str, name: str, arguments: dict[str, Any]) -> Block:
        return {"toolUse": {"toolUseId": call_id, "name": name, "input": arguments}}

    def _result_blocks(self, call_id: str, message: Message) -> list[Block]:
        """The result, and the cache point after it."""
        content = message.content
        parts = [ContentPart(text=content)] if isinstance(content, str) else content or ()
        blocks = [block for part in parts for block in self._part(part) if not _is_blank(block)]
        shown = [block for block in blocks if "cachePoint" not in block]
        points = [block for block in blocks if "cachePoint" in block] or cache_point(message.cache_control)
        return [{"toolResult": {"toolUseId": call_id, "content": shown}}, *points[-1:]]

    def _reasoning(self, reasoning: Reasoning | None) -> list[Block]:
        return blocks_to_send_back(reasoning)

    def _cached(self, blocks: list[Block], cache_control: Mapping[str, Any]) -> list[Block]:
        return blocks if "cachePoint" in blocks[-1] else [*blocks, *cache_point(cache_control)]

    def _is_blank(self, block: Block) -> bool:
        return _is_blank(block)

    def _is_system(self, block: Block) -> bool:
        return _SYSTEM.issuperset(block)


def _is_blank(block: Block) -> bool:
    return block.keys() == {"text"} and not str(block["text"]).strip()
