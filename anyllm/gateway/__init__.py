"""
A gateway: clients that speak OpenAI's, Anthropic's, Ollama's or Gemini's API can use any provider through it.

``anyllm serve`` runs it; `Gateway` is the WSGI application, for any server, and `GatewayServer` one that suits it.
"""

from __future__ import annotations

from anyllm.gateway._app import Gateway, check
from anyllm.gateway._config import Config, ModelEntry, Server, load
from anyllm.gateway._keys import hash_of, new_key
from anyllm.gateway._server import GatewayServer, NeedsKeys, bind, url_of
from anyllm.gateway._workers import run_workers

__all__ = [
    "Config",
    "Gateway",
    "GatewayServer",
    "ModelEntry",
    "NeedsKeys",
    "Server",
    "bind",
    "check",
    "hash_of",
    "load",
    "new_key",
    "run_workers",
    "url_of",
]
