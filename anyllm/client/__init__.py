"""`Client`: chat with one or several models; answers are returned, streams are iterated, errors are raised."""

from __future__ import annotations

from anyllm.client._chat_stream import ChatStream
from anyllm.client._client import Client

__all__ = ["ChatStream", "Client"]
