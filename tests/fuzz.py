"""
Feeds each dialect what nobody should send it, and sees that nothing but our own errors comes out.

    python tests/fuzz.py [--inputs N] [--seed N] [DIALECT ...]      # mutated transcripts, as many as wanted
    python tests/fuzz.py --atheris DIALECT [libFuzzer's options]    # guided by coverage, where atheris is installed

Strategy: an input is a transcript of ours in which bytes, pieces and JSON values were changed, put elsewhere, doubled
or left out, and perhaps joined to another one. It is read as a stream, cut anywhere, as a whole answer, and as the body
of an error. What may come out is an `AnyLLMError`, and chunks whose text is not much longer than the input.
"""

from __future__ import annotations

import argparse
import random
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

from anyllm._framing.body_events import events
from anyllm.errors import AnyLLMError
from anyllm.providers.table import lookup
from anyllm.types._accumulate import Assembler
from anyllm.wire._base.protocols import Dialect

TRANSCRIPTS = Path(__file__).resolve().parent / "transcripts"
#: Bytes that mean something to a parser, and values that a field may have and should not.
TOKENS = [
    *rb'null true {} [] "" 0 -1 1e999 0.5 "x" [null] {"a":1} "\ud83d"'.split(),
    *(b"\n\n", b"\r", b"\n", b":", b"data: ", b"event: error\n", b"[DONE]"),
    *(b"\xef\xbb\xbf", b"\xff", b"\0", b"}", b"{"),
    *(b'"error":{"message":"no"},', b'"error":"no",', b'"index":7,', b"[" * 2000, b'{"a":' * 2000, b"9" * 5000),
]
#: The largest event that is read; small, so that the limit is met too.
LIMIT = 64 * 1024
#: Characters of text that may come out for each byte that went in, and beside them.
RATIO, SLACK = 4, 256
STATUSES = (200, 400, 401, 404, 429, 500, 529)


def dialects() -> dict[str, Dialect]:
    """One of each kind, by the name of its module, with the switches of a row that has most of them."""
    found: dict[str, Dialect] = {}
    for row in lookup.ROWS:
        name = type(row.dialect).__module__.split(".")[2]
        if name not in found or row.name in ("minimax", "snowflake"):
            found[name] = row.dialect
    return found


def seeds(dialect: str) -> list[bytes]:
    """The transcripts to begin with."""
    folder = TRANSCRIPTS / dialect
    return [path.read_bytes() for path in sorted(folder.iterdir()) if path.suffix != ".json"]


def mutated(data: bytes, others: list[bytes], dice: random.Random) -> bytes:
    """*data* with a few things done to it."""
    for _ in range(dice.choice((1, 1, 2, 3, 8))):
        at = dice.randrange(len(data) + 1)
        end = min(len(data), at + dice.choice((1, 2, 8, 40, 200)))
        kind = dice.randrange(7)
        if kind == 0:
            data = data[:at] + bytes(dice.randrange(256) for _ in range(end - at)) + data[end:]
        elif kind == 1:
            data = data[:at] + data[end:]
        elif kind == 2:
            data = data[:end] + data[at:end] + data[end:]
        elif kind == 3:
            data = data[:at] + dice.choice(TOKENS) + data[at:]
        elif kind == 4:
            data = _with_other_value(data, at, dice.choice(TOKENS))
        elif kind == 5:
            other = dice.choice(others)
            data = data[:at] + other[dice.randrange(len(other) + 1) :]
        else:
            data = data[:at]
    return data


def _with_other_value(data: bytes, at: int, value: bytes) -> bytes:
    """*data* in which the JSON value behind the next colon is another one."""
    start = data.find(b":", at) + 1
    ends = [end for end in (data.find(mark, start) for mark in (b",", b"}", b"]")) if end >= 0]
    return data[:start] + value + data[min(ends) :] if start and ends else data


def check(dialect: Dialect, data: bytes, dice: random.Random) -> None:
    """Read *data* in every way; raises what is not ours."""
    decoder, assembler = dialect.decoder(), Assembler()
    try:
        for event in events(_cut(data, dice), max_event_bytes=LIMIT):
            for chunk in decoder.feed(event):
                assembler.add(chunk)
                chunk.to_dict()
            _ = decoder.done, decoder.complete
        for chunk in decoder.finish():
            assembler.add(chunk)
    except AnyLLMError as exc:
        str(exc)
    characters = sum(len(choice.message.text) for choice in assembler.snapshot().choices)
    assert characters <= RATIO * len(data) + SLACK, f"{characters} characters out of {len(data)} bytes"
    try:
        dialect.response(data).to_message()
    except AnyLLMError as exc:
        str(exc)
    assert isinstance(dialect.error(dice.choice(STATUSES), {}, data), AnyLLMError)


def _cut(data: bytes, dice: random.Random) -> list[bytes]:
    size = dice.choice((1, 7, 64, 1000, 1 << 20)) if len(data) < 4096 else 1 << 16
    return [data[at : at + size] for at in range(0, len(data), size)]


def run(name: str, inputs: int, seed: int, say: Callable[[str], object] = print) -> None:
    """Try *inputs* of them; says which one it was, should one break through."""
    dialect, begun, slowest = dialects()[name], seeds(name), 0.0
    for number in range(inputs):
        dice = random.Random(f"{seed} {name} {number}")
        data = mutated(dice.choice(begun), begun, dice)
        started = time.perf_counter()
        try:
            check(dialect, data, dice)
        except BaseException:
            say(f"{name}: seed {seed}, input {number}: {data[:2000]!r}")
            raise
        slowest = max(slowest, time.perf_counter() - started)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    say(f"{name}: {inputs} inputs, the slowest {slowest * 1e3:.0f} ms, {peak} MiB at the peak")


def with_atheris(name: str, options: list[str]) -> None:
    """Let libFuzzer look for what it has not seen; ends by its own options, or never."""
    import atheris

    dialect = dialects()[name]
    atheris.instrument_all()

    def one(data: bytes) -> None:
        check(dialect, data, random.Random(len(data)))

    atheris.Setup([sys.argv[0], str(TRANSCRIPTS / name), *options], one)
    atheris.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dialects", nargs="*", metavar="DIALECT")
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--atheris", action="store_true")
    args, options = parser.parse_known_args()
    names = args.dialects or sorted(dialects())
    for name in names:
        if args.atheris:
            with_atheris(name, options)
        run(name, args.inputs, args.seed)


if __name__ == "__main__":
    main()
