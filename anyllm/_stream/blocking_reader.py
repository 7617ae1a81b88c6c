"""
Drives an `AnswerReader` on a thread of its own, which waits for data and for room in the channel.

Strategy: of many streams only as many decode at once as there are permits (see `decode_permits`).
"""

from __future__ import annotations

import os
import time
from typing import Any, Optional

from anyllm._concurrency.decode_permits import DecodePermits
from anyllm._stream.answer_reader import AnswerReader, Need
from anyllm._transport.response import Response
from anyllm.channel import Sender
from anyllm.errors import AnyLLMError, Cancelled
from anyllm.wire._base.protocols import Decoder

#: Shared by all calls of the process.
_decode_permits = DecodePermits()


class BlockingReader:
    """
    Reads one body.

    Args:
        reader: Decodes it.
        response: Where it comes from.
        chunks: Receives the chunks.
    """

    def __init__(self, reader: AnswerReader, response: Response, chunks: Sender[Any]) -> None:
        self._reader = reader
        self._response = response
        self._reads = response.reads()
        self._chunks = chunks
        self._has_permit = False  # to decode
        self._has_put = False

    def read(self, decoder: Decoder) -> None:
        """
        Read to the end.

        Raises:
            AnyLLMError: the answer is an error, or incomplete.
            Cancelled: nobody receives any more.
        """
        steps = self._reader.steps(decoder)
        try:
            need = next(steps)
            while True:
                if need is Need.DATA:
                    try:
                        data = self._next_read()
                    except AnyLLMError as exc:  # of a stand-in for the network
                        need = steps.throw(exc)
                    else:
                        need = steps.send(data)
                elif need is Need.MORE:
                    self._return_permit()
                    need = steps.send(self._response.has_more())
                else:
                    self._put()
                    need = next(steps)
        except StopIteration:
            pass
        finally:
            self._return_permit()

    def _next_read(self) -> Optional[bytes]:
        """The next bytes, and the permit to decode them; None at the end."""
        self._return_permit()
        response, reader = self._response, self._reader
        response.read_size = reader.read_size
        data = next(self._reads, None)
        if data is None:
            reader.broken = response.broken
        elif data:
            self._take_permit()
        return data

    def _take_permit(self) -> None:
        _decode_permits.take()
        self._has_permit = True

    def _return_permit(self) -> None:
        if self._has_permit:
            self._has_permit = False
            _decode_permits.give()

    def _put(self) -> None:
        had_permit = self._has_permit
        if not self._chunks.put_many(self._reader.batch, self._return_permit):  # which may wait for room
            raise Cancelled
        if not self._has_put:
            # A fast stream behind the first chunk would hold the interpreter for milliseconds: let the caller run.
            self._has_put = True
            time.sleep(0)
        if had_permit and not self._has_permit:
            self._take_permit()


def _after_fork() -> None:
    global _decode_permits
    _decode_permits = DecodePermits()  # threads that do not exist here may have taken some


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
