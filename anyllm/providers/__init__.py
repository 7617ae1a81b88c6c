"""Providers, which host models: the table of their rows, and code for those that need more than a row."""
