"""
An HTTP gateway: clients of OpenAI's, Anthropic's, Ollama's or Gemini's API can use any provider through it.

``anyllm serve`` runs it. `Gateway` is a WSGI application for any server, `GatewayServer` a server made for it.
"""

from __future__ import annotations

from anyllm.gateway._app import Gateway, check
from anyllm.gateway._client_keys import hash_of, new_key
from anyllm.gateway._config import Config, ModelEntry, ServerConfig, load
from anyllm.gateway._server import GatewayServer, NeedsKeys, bind, url_of
from anyllm.gateway._workers import run_workers

#: The former name of `ServerConfig`.
Server = ServerConfig

__all__ = [
    "Config",
    "Gateway",
    "GatewayServer",
    "ModelEntry",
    "NeedsKeys",
    "Server",
    "ServerConfig",
    "bind",
    "check",
    "hash_of",
    "load",
    "new_key",
    "run_workers",
    "url_of",
]
