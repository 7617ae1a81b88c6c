"""Bytes to events: which framing a response has, and a parser for each."""
