"""Output: the answer on stdout in one of three formats, notices on stderr."""

from __future__ import annotations

import json
import sys
from typing import Any

from anyllm.cli._errors import error_dict
from anyllm.errors import AnyLLMError
from anyllm.types import ChatCompletion, ChatCompletionChunk


def say(line: str) -> None:
    """Print *line* on stderr as one line of printable text: a provider's error may be a page of HTML with colours."""
    text = " ".join(line.split())
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    try:
        print(f"anyllm: {text}", file=sys.stderr, flush=True)
    except (OSError, ValueError):
        pass  # stderr is closed


class Printer:
    """Prints one answer. Each method writes whole characters and flushes."""

    def chunk(self, chunk: ChatCompletionChunk) -> None:
        """Print a chunk."""

    def end(self, answer: ChatCompletion) -> None:
        """End a complete stream; *answer* is the whole of it."""

    def whole(self, answer: ChatCompletion) -> None:
        """Print an answer that was not streamed."""

    def failed(self, error: AnyLLMError) -> None:
        """End an answer that failed."""

    def interrupted(self) -> None:
        """End an answer that the user interrupted."""


class TextPrinter(Printer):
    """The text, as it comes."""

    def __init__(self) -> None:
        self._in_line = False

    def chunk(self, chunk: ChatCompletionChunk) -> None:
        self._write(chunk.content)

    def whole(self, answer: ChatCompletion) -> None:
        self._write(answer.content)
        self.end(answer)

    def end(self, answer: ChatCompletion) -> None:
        self.interrupted()
        for note in _notes(answer):
            say(note)

    def failed(self, error: AnyLLMError) -> None:
        self.interrupted()

    def interrupted(self) -> None:
        if self._in_line:
            self._write("\n")

    def _write(self, text: str) -> None:
        if text:
            self._in_line = not text.endswith("\n")
            _write(text)


def _notes(answer: ChatCompletion) -> list[str]:
    """Notices about parts of the answer that the text does not contain."""
    notes = []
    if answer.refusal:
        notes.append(f"the model refused: {answer.refusal}")
    if answer.tool_calls:
        names = ", ".join(call.name or "?" for call in answer.tool_calls)
        notes.append(f"the model calls {names}: --format json shows with what")
    if answer.finish_reason in ("length", "content_filter"):
        notes.append(f"the answer was cut off: {answer.finish_reason}")
    return notes


class JsonPrinter(Printer):
    """One JSON object at the end: the whole answer, or the error with the partial answer."""

    def end(self, answer: ChatCompletion) -> None:
        _write_json(answer.to_dict())

    whole = end

    def failed(self, error: AnyLLMError) -> None:
        partial = {} if error.partial is None else {"partial": error.partial.to_dict()}
        _write_json({"error": error_dict(error), **partial})


class NdjsonPrinter(Printer):
    """One JSON object per line: each chunk as it comes, then the error if there is one."""

    def chunk(self, chunk: ChatCompletionChunk) -> None:
        _write_json(chunk.to_dict())

    def whole(self, answer: ChatCompletion) -> None:
        _write_json(answer.to_dict())

    def failed(self, error: AnyLLMError) -> None:
        _write_json({"error": error_dict(error)})


PRINTERS: dict[str, type[Printer]] = {"text": TextPrinter, "json": JsonPrinter, "ndjson": NdjsonPrinter}


def _write(text: str) -> None:
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as exc:
        exc.filename = "standard output"  # else "no space left on device" would not name the device
        raise


def _write_json(value: dict[str, Any]) -> None:
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except (UnicodeEncodeError, LookupError):
        # A lone surrogate, or a console with an old encoding: JSON's escapes lose nothing.
        text = json.dumps(value)
    _write(f"{text}\n")
