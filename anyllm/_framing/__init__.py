"""Framing: detects the framing of a response, and parses its bytes into events."""
