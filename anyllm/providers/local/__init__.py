"""
A small real model, run by llama.cpp inside this process: no key, no account, no server to set up.

``endpoint()`` is all that a provider needs; the weights come by themselves, once.
"""

from __future__ import annotations

from anyllm.providers.local.known_weights import MODEL, SMOLLM2, Weights
from anyllm.providers.local.server import Endpoint, endpoint
from anyllm.providers.local.weights import ensure_weights, import_weights

__all__ = ["MODEL", "SMOLLM2", "Endpoint", "Weights", "endpoint", "ensure_weights", "import_weights"]
