"""The formats that servers speak."""

from __future__ import annotations

import pytest
import server_anthropic
import server_gemini
import server_ollama
import server_openai_chat
import server_openai_responses

SERVERS = [
    server_anthropic.PROFILE,
    server_gemini.PROFILE,
    server_gemini.ARRAY_PROFILE,
    server_ollama.PROFILE,
    server_ollama.GENERATE_PROFILE,
    server_openai_chat.PROFILE,
    server_openai_responses.PROFILE,
]
#: One of each dialect, for what only requests differ in.
READERS = list({server.name: server for server in reversed(SERVERS)}.values())
each_server = pytest.mark.parametrize("server", SERVERS, ids=lambda server: server.id)
each_reader = pytest.mark.parametrize("server", READERS, ids=lambda server: server.name)
