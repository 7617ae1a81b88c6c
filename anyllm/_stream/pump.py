"""
The pump: a worker thread for each call, which sends the request, decodes the answer and fills the channels.

Strategy: a call ends exactly once, in `Pump._end`, on the first thread that gets there: the worker's with the result or
an error, or a canceller's, which does not wait for the worker. So the caller is freed at once in every phase; the
worker finds its socket shut, sees that the call has ended, and exits. `_end` may run in a signal handler or a
finalizer, so it takes no lock (see `waiters`).

With the option ``driver="loop"`` the worker ends when the answer begins, and the loop reads the body (see
`polled_reader`). What may wait for anything else, the next attempt for example, gets a worker again.

The worker never holds the receive ends of the channels: when the caller drops ``chunks``, that cancels the call.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from typing import Any, Optional

from anyllm._concurrency import monkey_patch
from anyllm._concurrency.clock import Limit
from anyllm._stream import active_calls
from anyllm._stream.answer_reader import Accumulator
from anyllm._stream.attempt import Attempt
from anyllm._stream.blocking_reader import BlockingReader
from anyllm._stream.call_spec import CallSpec
from anyllm._stream.polled_reader import LoopTask, draining, reading
from anyllm._stream.recovery import Recovery
from anyllm._stream.runner import CallSteps, NoThread, Runner
from anyllm._stream.unreceived import UnreceivedError, warn_if_unread
from anyllm._transport.call_log import call_log
from anyllm._transport.http_failures import wrong_url
from anyllm._transport.redaction import redact, secrets_in
from anyllm._transport.response import Response
from anyllm._transport.sockets import AbortableCall
from anyllm.channel import Channel, Sender, open_channel
from anyllm.context import Context, own_error
from anyllm.errors import AnyLLMError, APIError, Cancelled, DeadlineExceeded, StreamTimeoutError
from anyllm.options import StreamingOptions
from anyllm.types import ChatCompletionChunk
from anyllm.wire._base.protocols import Request

_log = logging.getLogger("anyllm")

#: Seconds to wait for the end of the body once the answer is complete, so that the connection can be reused.
_DRAIN = 0.05
#: Response headers that hold the request id, which errors inside a 200 answer lack.
_REQUEST_IDS = ("x-request-id", "request-id", "apim-request-id", "x-amzn-requestid")
#: Seconds after which a receive from ``errors`` checks for a deadlock: the worker may wait for room in ``chunks``.
_STALL = 5.0


class Pump:
    """
    One call. Its caller uses `error`, `interruption`, `partial`, `request_id` and `cancel`.

    Attributes:
        error: Why the call failed; None while it runs, and when it is complete.
        request_id: The provider's id for the request; None before the answer, and where it gives none.
    """

    def __init__(self, ctx: Context, spec: CallSpec) -> None:
        monkey_patch.renew()
        self.ctx = ctx.child(spec.options.timeouts.total)
        self.spec = spec
        self.error: Optional[AnyLLMError] = None
        self.request_id: Optional[str] = None
        self.streaming = spec.parse is None
        self._parent = ctx
        self._secrets: tuple[str, ...] = ()
        self._call_log = call_log(spec.provider, spec.options.debug)
        self._ended: dict[str, tuple[Optional[AnyLLMError]]] = {}
        self._runner = Runner(lambda: bool(self._ended), self._on_failure, self._on_over)
        self._recovery = Recovery(spec, self._put)
        self._unwatch: Callable[[], object] = lambda: None

    # -- the caller's side -----------------------------------------------------------------------------------------

    def start(self) -> tuple[Channel[Any], Channel[AnyLLMError]]:
        """Start the worker; returns the receive ends of chunks and errors. Raises nothing, opens nothing here."""
        self._chunks: Sender[Any]
        self._errors: Sender[AnyLLMError]
        self._chunks, chunks = open_channel(self.spec.options.buffer, on_drop=self._abandon)
        self._errors, errors = open_channel(1, on_stall=(_STALL, lambda: warn_if_unread(self._chunks._pipe)))
        errors._on_drop = self._unreceived_error = UnreceivedError(errors._pipe)
        self._chunks_pipe = self._chunks._pipe
        self._attempt = self._new_attempt()
        if self.ctx.cancelled:
            self._stop()
        elif isinstance(self.spec.request, AnyLLMError):
            self._end(self.spec.request)
        else:
            self._launch()
        return chunks, errors

    def _launch(self) -> None:
        active_calls.add(self)
        try:
            self._unwatch = self.ctx._on_end(self._stop)  # may start the timer
            self._runner.start(self._run_attempts())
        except RuntimeError as exc:
            self._unwatch()
            self._fail(AnyLLMError(f"cannot start a thread: {exc}"), exc)

    def cancel(self, cause: object = None) -> None:
        """End this call only."""
        self.ctx.cancel(cause)

    def join(self, timeout: float) -> None:
        """Wait for the worker, for *timeout* seconds at most; a worker does not wait for itself."""
        self._runner.join(timeout)

    def forget_connection(self) -> None:
        """Drop the connection without closing it: in a forked child it is the parent's."""
        try:
            self._call.forget()
        finally:
            self._attempt.stop_clocks()

    def _abandon(self) -> None:
        self.ctx.cancel("abandoned")  # which closes `chunks`, but only after it has put the error

    @property
    def interruption(self) -> Optional[AnyLLMError]:
        """The error that interrupted the answer, after which it restarted or continued; None if none did."""
        return self._recovery.interruption

    @property
    def partial(self) -> Any:
        """The response so far."""
        return self._answer.snapshot()

    @property
    def _answer(self) -> Accumulator:
        interrupted, reader = self._recovery.interrupted_answer, self._attempt.reader
        return reader.answer if interrupted is None or reader.committed else interrupted

    @property
    def _call(self) -> AbortableCall:
        return self._attempt.call

    # -- the end ---------------------------------------------------------------------------------------------------

    def _stop(self) -> None:
        """The context has ended: free the caller, then the worker. On any thread."""
        try:
            self._end(self._context_error())
        except BaseException:  # Ctrl-C, or a bug: nobody calls this again
            self._end(self._context_error())
            raise
        finally:
            if self.error is not None or not self._ended:  # else complete: the worker only returns the connection
                self._call.abort()

    def _context_error(self) -> AnyLLMError:
        error = own_error(self.ctx)
        if isinstance(error, DeadlineExceeded) and self._parent.error is None:
            error = DeadlineExceeded(f"the total of {self.spec.options.timeouts.total:g} s ran out")
        return error

    def _on_timeout(self, limit: Limit, seconds: float) -> None:
        """A clock ran out. On the timer's thread, and perhaps late."""
        attempt: Attempt = limit.attempt
        if limit.name == "tail":
            if not attempt.call.abort() and attempt.content_clock.runs and attempt.claim():
                self._end(None)  # the worker still waits for the provider: with the caller's own session
            return
        error = attempt.time_out(limit.name, seconds)
        if not attempt.call.abort() and attempt.claim():
            # There is no socket to wake the worker by: it resolves a name, which nothing interrupts, or the session is
            # the caller's own. Or the worker is between two sockets, and finds that another thread has the claim.
            self._replace_worker(attempt, error)

    def _replace_worker(self, attempt: Attempt, error: StreamTimeoutError) -> None:
        """Go on after *attempt* with another worker; the one that is blocked does nothing any more."""
        if attempt.reader.committed:
            self._end(error)
            return
        try:
            self._runner.start(self._run_attempts(error))
        except RuntimeError:
            self._unwatch()
            self._end(error)

    def _end(self, error: Optional[AnyLLMError]) -> bool:
        """
        End the call, once: put the error, then close the channels. Takes no lock; False when it had ended before.

        Later calls repeat the steps after the first, which changes nothing unless Ctrl-C interrupted the first call.
        """
        if error is not None and not self._ended:
            error = self._enrich(error)
        claim = (error,)
        first = self._ended.setdefault("with", claim)
        (self.error,) = first
        active_calls.remove(self)
        self._errors.close(last=self.error)
        self._chunks.close()
        if self._unreceived_error.dropped:
            self._unreceived_error()
        return first is claim

    def _enrich(self, error: AnyLLMError) -> AnyLLMError:
        """Add provider and partial answer to *error*, and remove the secrets. Never raises: the call must end."""
        try:
            error.provider = error.provider or self.spec.provider or None
            if self.streaming and error.partial is None and self.spec.options.keep_partial:
                error.partial = self.partial if self._answer.has_begun else None
            return redact(error, *self._secrets)
        except Exception as exc:
            return AnyLLMError(f"a bug in anyllm: {type(exc).__name__} while it ended with {type(error).__name__}")

    def _fail(self, error: AnyLLMError, cause: BaseException) -> None:
        error.__cause__ = cause
        self._end(error)

    # -- the worker's side -----------------------------------------------------------------------------------------

    def _on_failure(self, exc: BaseException) -> None:
        if isinstance(exc, AnyLLMError):
            self._end(exc)
            return
        _log.error("a bug in anyllm ended a call", exc_info=exc)
        message = f"a bug in anyllm: {type(exc).__name__}: {exc} (`anyllm doctor` checks the installation)"
        self._fail(AnyLLMError(message), exc)

    def _on_over(self) -> None:
        self._unwatch()
        self._debug("call ended: %s", self.error or "complete")

    def _debug(self, text: str, *facts: object) -> None:
        if self._call_log is not None:
            self._call_log.step(text, *facts)

    def _run_attempts(self, failure: Optional[AnyLLMError] = None) -> CallSteps:
        """
        Make attempts until an answer is whole. Raises the error that ends the call.

        Yields a part for the loop, or None before it may wait (see `runner`).

        Args:
            failure: The failure of the last attempt, whose worker this one replaces; None for the first worker.
        """
        while True:
            attempt = self._attempt
            if failure is None:
                try:
                    yield from self._run_attempt(attempt, self._recovery.request)
                    return
                except BaseException as exc:
                    if not attempt.claim():
                        return  # replaced: another thread goes on
                    if not isinstance(exc, AnyLLMError):
                        raise
                    failure = exc
                if not self._ended:
                    try:
                        yield None
                    except NoThread:
                        raise (self._stop_reason(attempt) or failure) from failure.__cause__
            pause = self._prepare_next_attempt(attempt, failure)
            if self.ctx.wait(pause):
                # `_stop` does the same, but the canceller may not have called it yet, and we soon unregister it.
                raise self._context_error()
            failure = None

    def _prepare_next_attempt(self, attempt: Attempt, failure: AnyLLMError) -> float:
        """Seconds until the next attempt. Raises the error that ends the call where there is none."""
        # A cancel or a clock of ours comes first: it provoked the failure.
        error = self._stop_reason(attempt) or failure
        cause = failure if error is not failure else failure.__cause__
        if self._ended:
            raise error from cause
        recovery, committed = self._recovery, attempt.reader.committed
        if not committed and recovery.drop_refused_parameter(error):
            self._attempt = self._new_attempt()
            return 0.0
        recovery.failures += 1
        error = self._enrich(error)
        self._debug("attempt %d ended: %s", recovery.failures, error)
        pause = recovery.pause_after(error, self._answer, committed=committed, left=self.ctx.remaining())
        if pause is None:
            final = recovery.final_error(error)
            raise final from (cause if final is error else error)
        self._attempt = self._new_attempt()
        return pause

    def _put(self, chunk: ChatCompletionChunk) -> None:
        if not self._chunks.put(chunk):
            raise Cancelled

    def _stop_reason(self, attempt: Attempt) -> Optional[AnyLLMError]:
        return self._context_error() if self.ctx.cancelled else attempt.timed_out

    def _raise_if_stopped(self, attempt: Attempt) -> None:
        error = self._stop_reason(attempt)
        if error is not None:
            raise error

    def _new_attempt(self) -> Attempt:
        accumulator = self._recovery.new_accumulator()
        return Attempt(accumulator, self.spec.options, self._on_timeout, active_calls.is_crowded)

    def _run_attempt(self, attempt: Attempt, request: Request) -> CallSteps:
        timeouts = self.spec.options.timeouts
        destination = self.spec.destination()
        path = request.path.partition("?")[0]
        self._debug("attempt begins: %s %s, %d bytes", request.method, path, len(request.body))
        if self.ctx.cancelled:  # `_stop` may have come just before this attempt was in place
            raise self._context_error()
        url = destination.url(request.path)
        encoding = {"Accept-Encoding": "gzip, deflate"} if self.spec.options.compression else {}
        headers = {**encoding, **destination.headers, **request.headers}
        self._secrets = secrets_in(destination.secret, headers, url)
        if destination.sign is not None:
            headers = {**headers, **destination.sign(request.method, url, headers, request.body)}
            self._secrets = secrets_in(destination.secret, headers, url)
        try:
            attempt.connect_clock.start("connect", timeouts.connect)
            attempt.content_clock.start("first_content", timeouts.first_content)
            log = self._call_log
            if log is not None:
                log.secrets = self._secrets
            response = self.spec.transport.send(
                *(attempt.call, request.method, url, headers, request.body),
                connect_timeout=timeouts.connect,
                on_request=None if log is None else log.request,
            )
            try:
                yield from self._read(attempt, response)
            except AnyLLMError as exc:
                is_page = "html" in (response.headers.get("content-type") or "")
                exc.hint = exc.hint or wrong_url(exc, url, destination.custom_base_url, is_page)
                raise
            finally:
                response.close()
        finally:
            attempt.stop_clocks()

    def _read(self, attempt: Attempt, response: Response) -> CallSteps:
        self._raise_if_stopped(attempt)
        limit = self.spec.options.max_event_bytes
        if self._call_log is not None:
            self._call_log.answer(response)
        self.request_id = next(filter(None, map(response.headers.get, _REQUEST_IDS)), None)
        if not 200 <= response.status < 300:
            body = response.text_so_far(limit)
            self._raise_if_stopped(attempt)
            raise self.spec.dialect.error(response.status, response.headers, body)
        sock = None
        try:
            if self.spec.parse is None:
                sock = self._polled_socket(response)
                yield from self._read_stream(attempt, response, sock)
            else:
                self._read_whole(attempt, response.read(limit))
        except APIError as exc:
            exc.request_id = exc.request_id or self.request_id
            raise
        self._end(None)
        if sock is None:
            response.drain(_DRAIN)
        else:
            yield LoopTask(draining(response), sock, self._chunks, [], _DRAIN)

    def _polled_socket(self, response: Response) -> Optional[socket.socket]:
        """The socket for the loop, if it reads this body; None if this thread does."""
        # Log handlers may wait, which nothing on the loop may.
        may_poll = reads_on_loop(self.spec.options) and self._call_log is None
        return response.poll() if may_poll else None

    def _read_stream(self, attempt: Attempt, response: Response, sock: Optional[socket.socket]) -> CallSteps:
        reader, decoder = attempt.reader, self._recovery.new_decoder()
        if sock is None:
            BlockingReader(reader, response, self._chunks).read(decoder)
        else:
            failures: list[BaseException] = []
            yield LoopTask(reading(reader, response, self._chunks, decoder), sock, self._chunks, failures)
            if failures:
                raise failures.pop()

    def _read_whole(self, attempt: Attempt, body: bytes) -> None:
        assert self.spec.parse is not None
        attempt.content_clock.stop()  # the provider has done its part: parsing a large answer takes us a while
        answer = self.spec.parse(body)
        attempt.commit()
        self._chunks.put(answer)


def reads_on_loop(options: StreamingOptions) -> bool:
    """Whether the loop reads the answer, if it can."""
    return options.driver == "loop"


def start(ctx: Context, spec: CallSpec) -> tuple[Pump, Channel[Any], Channel[AnyLLMError]]:
    """Start a call: its pump, and the receive ends of its chunks (or of its one whole answer) and its errors."""
    pump = Pump(ctx, spec)
    return (pump, *pump.start())
