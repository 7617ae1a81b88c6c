"""
Recorded responses of real hosts, for the tests of every dialect.

They lie outside the repository, in ``../shared/recordings`` beside it or where ANYLLM_RECORDINGS says. The default run
reads a sample of them, ``pytest --long`` all.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from anyllm._framing.body_events import events
from anyllm.errors import AnyLLMError
from anyllm.testing import RecordedRequest, Reply, serve
from anyllm.types import ChatCompletionChunk, ToolCall
from anyllm.types._accumulate import Assembler
from anyllm.wire._base.protocols import Dialect

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


#: Bytes of the largest recording in the sample: some tests take time that is quadratic in them.
LARGEST = 64 * 1024


#: Why a whole module is left out of the default run.
IS_LONG = "only in the long run: pytest --long"


def is_long() -> bool:
    """Whether this is the long run, which conftest.py finds out."""
    return bool(os.environ.get("ANYLLM_LONG"))


@functools.lru_cache(maxsize=1)
def every_recording() -> list[Recording]:
    """All there are, read once."""
    return [Recording(path) for path in sorted(RECORDINGS.glob("*/*.json"))]


@functools.lru_cache(maxsize=1)
def sampled_ids() -> frozenset[str]:
    """The shortest recordings that have between them, for each API, every provider, format, status and tag."""
    covered: set[tuple[str, str, object]] = set()
    ids = set()
    for recording in sorted(every_recording(), key=lambda recording: (len(recording.body), recording.id)):
        words = [recording.provider, recording.format, recording.status, *recording.about["tags"]]
        about = {(recording.api, "answer" if recording.status == 200 else "error", word) for word in words}
        if len(recording.body) <= LARGEST and not about <= covered:
            ids.add(recording.id)
            covered |= about
    return frozenset(ids)


def recordings_of(*apis: str) -> list[Recording]:
    """The recordings of these APIs, in the default run those of the sample; none where there are no recordings."""
    chosen = [recording for recording in every_recording() if recording.api in apis]
    return chosen if is_long() else [recording for recording in chosen if recording.id in sampled_ids()]


def marks(recordings: list[Recording]) -> list[Any]:
    """For a module's ``pytestmark``."""
    absent = f"no recordings in {RECORDINGS}; set ANYLLM_RECORDINGS"
    return [pytest.mark.recordings, pytest.mark.skipif(not recordings, reason=absent)]


def each(recordings: list[Recording]) -> Callable[[Any], Any]:
    """A test for each."""
    return pytest.mark.parametrize("recording", recordings, ids=lambda recording: recording.id)


class Ours:
    """
    A recording as we read it: chunks, the answer of them, and the error, if any.

    Args:
        dialect: The format it is in.
        reads: The bytes, as they come.
    """

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


@contextlib.contextmanager
def answering(answer: Callable[[str, bytes], bytes | tuple[bytes, str]], *, content_type: str = "") -> Iterator[str]:
    """
    The URL of a loopback server for official clients, which are not to use proxies.

    Args:
        answer: Gives the body of an answer to a request's path and body, or the body and its content type.
        content_type: Of all answers that have none of their own.
    """

    def reply(request: RecordedRequest) -> Reply:
        found = answer(request.path, request.body)
        body, kind = (found, content_type) if isinstance(found, bytes) else found
        closing = {"Connection": "close"}  # so that no thread outlives a test, whose client may live longer
        return Reply(content_type=kind, headers=closing, body=(body,), framing="length")

    with pytest.MonkeyPatch.context() as patch, serve(reply) as server:
        patch.setenv("NO_PROXY", "*")
        yield server.url


def replaying(
    bodies: Mapping[str, bytes], *, at: Callable[[str], str] = lambda path: path.split("/")[1], content_type: str
) -> contextlib.AbstractContextManager[str]:
    """
    The URL of a server that replays *bodies*, as `answering` has it.

    Args:
        bodies: By name; a request is answered with that which its path names.
        at: The name in a path: its first part.
        content_type: Of all of them.
    """
    return answering(lambda path, _: bodies[at(path)], content_type=content_type)


def bodies_of(recordings: list[Recording]) -> dict[str, bytes]:
    """What `replaying` replays of these, by their ids."""
    return {recording.id: recording.body for recording in recordings}


class Exceptions:
    """
    Where we read recordings otherwise than the official client of their hosts, and are right: oracle_exceptions.toml.

    An entry says the cause, by the name of a function of the test, and a file that shows it, with both values.
    """

    def __init__(self, client: str) -> None:
        self._entries = {entry["field"]: entry for entry in exceptions_in_file() if entry["client"] == client}

    def check(self, recording: Recording, field: str, ours: Any, theirs: Any, *, has_cause: bool) -> None:
        """Both read the same; or the cause of an exception is there, which in its own file gives the values it says."""
        entry = self._entries.get(field)
        if entry is None or not has_cause:
            assert ours == theirs
        elif recording.id == entry["file"]:
            assert difference(ours, theirs) == (entry["ours"], entry["theirs"])


def exceptions_in_file() -> list[dict[str, str]]:
    """The entries of oracle_exceptions.toml."""
    try:
        import tomllib
    except ModuleNotFoundError:
        import tomli as tomllib  # which pytest brings along
    path = Path(__file__).with_name("oracle_exceptions.toml")
    found: list[dict[str, str]] = tomllib.loads(path.read_text("utf-8"))["exception"]
    return found


def difference(ours: Any, theirs: Any) -> tuple[str, str]:
    """The beginnings of both values, as an entry has them; of objects, what stands in one alone, or otherwise."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        other = [
            key for key in {**ours, **theirs} if ours.get(key) != theirs.get(key) or (key in ours) != (key in theirs)
        ]
        ours, theirs = ({key: value[key] for key in other if key in value} for value in (ours, theirs))
    return _shown(ours), _shown(theirs)


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)
    return text[:100]
