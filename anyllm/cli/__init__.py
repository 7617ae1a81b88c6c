"""The command line: ``anyllm "What is the capital of France?"``."""

from anyllm.cli._main import main

__all__ = ["main"]
