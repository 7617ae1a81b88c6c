"""Cohere's chat API, version 1."""
