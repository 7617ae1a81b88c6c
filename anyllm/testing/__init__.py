"""
For tests: a loopback server that replays scripted replies over real sockets, with the faults LLM streams meet, and a
provider without any socket.

```python
from anyllm.testing import Reply, chat_events, serve

with serve(Reply.sse(chat_events("Hello world"))) as server:
    ...  # point a client at server.url
assert server.requests[0].json()["stream"] is True
```

`serve(Reply.chat("Hello world"))` answers both streamed and whole calls. `fake("Hello world")` is a provider that
answers from a script, `tool_call("weather", {"city": "Paris"})` a call that either may answer with.

The servers need nothing else of anyllm, so they serve the tests of any HTTP client. They listen on 127.0.0.1 only, on a
port of the system's choice, and leave no thread or socket behind.
"""

from __future__ import annotations

from anyllm.testing._fake import FakeProvider, fake, tool_call
from anyllm.testing._replies import (
    Cut,
    Pause,
    Reply,
    Signal,
    SSEData,
    SSEEvent,
    Stall,
    Step,
    chat_completion,
    chat_events,
    keep_alive_comments,
)
from anyllm.testing._server import Headers, RecordedRequest, Script, Server, serve
from anyllm.testing._silent import Silent, blackhole, silent

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
