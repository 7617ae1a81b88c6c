"""
For tests: a loopback server that sends scripted replies, network faults included, and a provider without sockets.

```python
from anyllm.testing import Reply, chat_events, serve

with serve(Reply.sse(chat_events("Hello world"))) as server:
    ...  # point a client at server.url
assert server.requests[0].json()["stream"] is True
```

`serve(Reply.chat("Hello world"))` answers both streamed and whole calls. `fake("Hello world")` is a provider with
scripted answers. `tool_call("weather", {"city": "Paris"})` is a tool call for either.

The servers use no other part of anyllm, so they can test any HTTP client. They listen on 127.0.0.1 only, on a free
port, and leave no thread or socket behind.
"""

from __future__ import annotations

from anyllm.testing._chat import chat_completion, chat_events
from anyllm.testing._fake import FakeProvider, fake, tool_call
from anyllm.testing._reply import Reply
from anyllm.testing._request import Headers, RecordedRequest
from anyllm.testing._server import Script, Server, serve
from anyllm.testing._silent import Silent, blackhole, silent
from anyllm.testing._steps import Cut, Pause, Signal, SSEData, SSEEvent, Stall, Step, keep_alive_comments

__all__ = [
    "Cut",
    "FakeProvider",
    "Headers",
    "Pause",
    "RecordedRequest",
    "Reply",
    "SSEData",
    "SSEEvent",
    "Script",
    "Server",
    "Signal",
    "Silent",
    "Stall",
    "Step",
    "blackhole",
    "chat_completion",
    "chat_events",
    "fake",
    "keep_alive_comments",
    "serve",
    "silent",
    "tool_call",
]  # fmt: skip
