"""
Recorded responses of real hosts, for the tests of every dialect.

They lie outside the repository, in ``../shared/recordings`` beside it or where ANYLLM_RECORDINGS says.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from anyllm._assemble import Assembler
from anyllm._framing import events
from anyllm.dialects import Dialect
from anyllm.errors import AnyLLMError
from anyllm.types import ChatCompletionChunk, ToolCall

RECORDINGS = Path(os.environ.get("ANYLLM_RECORDINGS") or Path(__file__).resolve().parents[2] / "shared" / "recordings")


class Recording:
    """One recorded response and what its recorder wrote about it."""

    def __init__(self, path: Path) -> None:
        self.about = json.loads(path.read_text("utf-8"))
        self.id: str = self.about["id"]
        self.provider: str = self.about["provider"]
        self.api: str = self.about["api"]
        self.status: int = self.about["status"]
        self.format: str = self.about.get("format") or ""
        self.request: Any = self.about.get("request")
        self.sizes: list[int] | None = self.about.get("chunk_sizes")
        self.cut_short = bool(self.about.get("truncated_by_recorder"))
        self.body = path.with_suffix(".body").read_bytes()

    @property
    def reads(self) -> list[bytes]:
        """The body as the network brought it."""
        reads, at = [], 0
        for size in self.sizes or ():
            reads.append(self.body[at : at + size])
            at += size
        return [*reads, self.body[at:]]


def recordings_of(*apis: str) -> list[Recording]:
    """The recordings of these APIs; none where there are no recordings."""
    if not RECORDINGS.is_dir():
        return []
    every = (Recording(path) for path in sorted(RECORDINGS.glob("*/*.json")))
    return [recording for recording in every if recording.api in apis]


def marks(recordings: list[Recording]) -> list[Any]:
    """For a module's ``pytestmark``."""
    absent = f"no recordings in {RECORDINGS}; set ANYLLM_RECORDINGS"
    return [pytest.mark.recordings, pytest.mark.skipif(not recordings, reason=absent)]


def each(recordings: list[Recording]) -> Callable[[Any], Any]:
    """A test for each."""
    return pytest.mark.parametrize("recording", recordings, ids=lambda recording: recording.id)


class Ours:
    """A recording as we read it: chunks, the answer of them, and the error, if any."""

    def __init__(self, dialect: Dialect, reads: list[bytes]) -> None:
        decoder, assembler = dialect.decoder(), Assembler()
        self.chunks: list[ChatCompletionChunk] = []
        self.error: AnyLLMError | None = None
        try:
            for event in events(reads, max_event_bytes=1 << 24):
                for chunk in decoder.feed(event):
                    self.chunks.append(chunk)
                    assembler.add(chunk)
            for chunk in decoder.finish():
                self.chunks.append(chunk)
                assembler.add(chunk)
        except AnyLLMError as exc:
            self.error = exc
        self.answer = assembler.snapshot()


def calls_of(calls: tuple[ToolCall, ...]) -> list[tuple[Any, ...]]:
    """Ids, names and parsed arguments."""
    return [(call.id, call.name, call.parse()) for call in calls]
