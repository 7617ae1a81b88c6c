"""The calls for people who do not want to hold two channels: text in, an answer or a stream out, errors raised."""

from __future__ import annotations

from anyllm.client._chat_stream import ChatStream
from anyllm.client._client import Client

__all__ = ["ChatStream", "Client"]
