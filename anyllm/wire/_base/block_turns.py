"""
Conversations as turns of content blocks: what the requests of Anthropic's Messages and of Bedrock's Converse share.

The system prompt stands outside of the conversation, in which the turns of user and assistant alternate.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from anyllm.types import ContentPart, Message, Reasoning, ToolCall
from anyllm.wire._base.conversation import arguments_of, lift_system
from anyllm.wire._base.encode_json import invalid, unsupported

__all__ = ["Block", "BlockTurns"]

Block = dict[str, Any]

#: The roles of our messages as roles of turns; the older "function" is a tool.
_ROLES = {"user": "user", "assistant": "assistant", "tool": "user", "function": "user"}


class BlockTurns:
    """
    Writes one request's conversation. A format defines the methods for single blocks.

    Args:
        provider: Stands in errors.

    Raises, from all of its methods:
        InvalidRequestError: a message has a role, a part or a call that cannot be sent.
        UnsupportedParameterError: a message holds what the provider does not support.
    """

    def __init__(self, provider: str) -> None:
        self._provider = provider

    def system(self, messages: Iterable[Message]) -> list[Block]:
        """The blocks of the system prompt, wherever its messages stand."""
        blocks = [block for message in lift_system(messages)[0] for block in self._content(message)]
        if not all(map(self._is_system, blocks)):
            raise unsupported("messages", "a system message can only be text", self._provider)
        return blocks

    def turns(self, messages: Iterable[Message]) -> list[dict[str, Any]]:
        """
        The turns, ``{"role": ..., "content": blocks}``: messages of one role in a row are one turn.

        An assistant's message without content is left out: models end with one after some tool results, and refuse to
        have it sent back.
        """
        turns: list[dict[str, Any]] = []
        for message in lift_system(messages)[1]:
            role = _ROLES.get(message.role)
            if role is None:
                raise invalid("messages", f"a message cannot have the role {message.role!r}", self._provider)
            if message.role == "assistant":
                blocks = self._assistant(message)
            else:
                blocks = self._content(message) if message.role == "user" else self._result(message)
            if turns and turns[-1]["role"] == role:
                turns[-1]["content"] += blocks
            elif blocks:
                turns.append({"role": role, "content": blocks})
        return turns

    # -- single blocks, in a format's own shape ------------------------------------------------------------------------

    def _text(self, text: str) -> Block:
        raise NotImplementedError

    def _part(self, part: ContentPart) -> list[Block]:
        """The blocks of a part of a message."""
        raise NotImplementedError

    def _call(self, call_id: str, name: str, arguments: dict[str, Any]) -> Block:
        raise NotImplementedError

    def _result_blocks(self, call_id: str, message: Message) -> list[Block]:
        """The result of a tool call."""
        raise NotImplementedError

    def _reasoning(self, reasoning: Reasoning | None) -> list[Block]:
        """The blocks of an earlier answer's reasoning that its provider wants back."""
        raise NotImplementedError

    def _cached(self, blocks: list[Block], cache_control: Mapping[str, Any]) -> list[Block]:
        """*blocks*, up to whose end the provider is to cache the prompt; they are not empty."""
        raise NotImplementedError

    def _is_blank(self, block: Block) -> bool:
        """Whether it is text that is empty or white space."""
        raise NotImplementedError

    def _is_system(self, block: Block) -> bool:
        """Whether it can stand in a system prompt."""
        raise NotImplementedError

    # -- messages ------------------------------------------------------------------------------------------------------

    def _assistant(self, message: Message) -> list[Block]:
        """
        An earlier answer: reasoning, text, calls, in the order that providers ask for.

        Blank text is left out: models write it before calls, and refuse to have it sent back.
        """
        blocks = [block for block in self._parts(message) if not self._is_blank(block)]
        if message.refusal:
            blocks.append(self._text(message.refusal))
        blocks += map(self._call_block, message.tool_calls)
        return self._reasoning(message.reasoning) + self._with_cache(blocks, message)

    def _content(self, message: Message) -> list[Block]:
        return self._with_cache(self._parts(message), message)

    def _parts(self, message: Message) -> list[Block]:
        if message.name is not None:
            raise unsupported("name", "name is not supported: write it into the content", self._provider)
        content = message.content
        if isinstance(content, str):
            return [self._text(content)]
        return [block for part in content or () for block in self._part(part)]

    def _with_cache(self, blocks: list[Block], message: Message) -> list[Block]:
        return self._cached(blocks, message.cache_control) if blocks and message.cache_control is not None else blocks

    def _call_block(self, call: ToolCall) -> Block:
        if not call.id or not call.name:
            raise invalid("messages", "an earlier tool call has no id or no name", self._provider)
        return self._call(_allowed(call.id), call.name, arguments_of(call, self._provider))

    def _result(self, message: Message) -> list[Block]:
        """The result of a call; its ``name`` repeats the call's, and is not sent."""
        if not message.tool_call_id:
            raise invalid("messages", "the result of a tool call has no tool_call_id", self._provider)
        return self._result_blocks(_allowed(message.tool_call_id), message)


def _allowed(call_id: str) -> str:
    """The id in the letters that are allowed here: the ids of other providers may hold dots and colons."""
    return re.sub(r"[^a-zA-Z0-9_-]", "_", call_id)
