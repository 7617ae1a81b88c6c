"""
A loopback HTTP server that replays scripted replies over real sockets, with the faults LLM streams meet.

```python
from anyllm.testing import Reply, chat_events, serve

with serve(Reply.sse(chat_events("Hello world"))) as server:
    ...  # point a client at server.url
assert server.requests[0].json()["stream"] is True
```

Everything listens on 127.0.0.1 only, on a port of the system's choice, and leaves no thread or socket behind.
"""

from __future__ import annotations

from ._replies import (
    Cut,
    Pause,
    Reply,
    Signal,
    SSEData,
    SSEEvent,
    Stall,
    Step,
    chat_events,
    keep_alive_comments,
)
from ._server import Headers, RecordedRequest, Script, Server, Silent, blackhole, serve, silent

__all__ = [
    "serve", "Server", "RecordedRequest", "Headers", "Script",
    "Reply", "Step", "SSEData", "SSEEvent", "Pause", "Stall", "Cut", "Signal",
    "chat_events", "keep_alive_comments",
    "silent", "Silent", "blackhole",
]  # fmt: skip
