"""
A small real model, run by llama.cpp in this process: no key, no account, no server to set up.

``endpoint()`` starts it, and returns its URL and key. The weights are downloaded once, at the first use.
"""

from __future__ import annotations

from anyllm.providers.local.model_file import MODEL, SMOLLM2, Weights
from anyllm.providers.local.server import Endpoint, endpoint
from anyllm.providers.local.weights import ensure_weights, import_weights

__all__ = ["MODEL", "SMOLLM2", "Endpoint", "Weights", "endpoint", "ensure_weights", "import_weights"]
