"""
The pump: one thread a call, which opens the connection, decodes, puts and ends. No other thread serves a call.

Strategy: a call ends exactly once, in `Pump._end`, whoever gets there first: the worker with its result or error, or
whoever cancels, on their own thread, without waiting for the worker. That is what frees the caller at once in every
phase; the worker finds its socket shut, sees that the call is over, and goes. `_end` may run in a signal handler or a
finalizer, so it takes no lock (see `waiters`).

The worker never holds the receive ends of the channels, so that letting go of ``chunks`` is seen: that cancels.
"""

from __future__ import annotations

import copy
import logging
import threading
from collections.abc import Callable
from typing import Any, Optional

from anyllm._concurrency import background, fork_guard, monkey_patch
from anyllm._concurrency.clock import Limit
from anyllm._stream import active_calls
from anyllm._stream.answer_reader import Accumulator
from anyllm._stream.attempt import Attempt
from anyllm._stream.call_spec import CallSpec
from anyllm._stream.resume import Stitched, text_to_continue
from anyllm._stream.retry import pause_after_cut, pause_before_retry, simpler
from anyllm._transport.call_log import call_log
from anyllm._transport.http import AbortableCall, Response
from anyllm._transport.http_failures import secrets_in, wrong_url
from anyllm.channel import Channel, Sender, open_channel
from anyllm.context import Context, own_error
from anyllm.errors import (
    AnyLLMError,
    APIError,
    Cancelled,
    DeadlineExceeded,
    InvalidRequestError,
    StreamTimeoutError,
    scrub,
)
from anyllm.types import ChatCompletionChunk, RetryNotice
from anyllm.wire._base.dialect import Decoder, Request

__all__ = ["Pump", "start"]

_log = logging.getLogger("anyllm")

#: Seconds to wait for the end of the body once the answer is over, so that the connection can serve again.
_DRAIN = 0.05
#: What says which request an error within a good answer belongs to.
_REQUEST_IDS = ("x-request-id", "request-id", "apim-request-id", "x-amzn-requestid")
#: Seconds after which a receive from ``errors`` looks whether everybody is waiting for everybody.
_STALL = 5.0


class Pump:
    """One call on its way. The caller's side uses `error`, `partial` and `cancel`."""

    def __init__(self, ctx: Context, spec: CallSpec) -> None:
        monkey_patch.renew()
        self.ctx = ctx.child(spec.options.timeouts.total)
        self.spec = spec
        self.error: Optional[AnyLLMError] = None
        self.request_id: Optional[str] = None
        self._given = ctx
        self.streaming = spec.parse is None
        self._secrets: tuple[str, ...] = ()
        self._call_log = call_log(spec.provider, spec.options.debug)
        self._ended: dict[str, tuple[Optional[AnyLLMError]]] = {}
        self._thread: Optional[threading.Thread] = None
        self._worker: Optional[object] = None  # which worker the call goes on with
        self.cut: Optional[AnyLLMError] = None  # after which the answer began anew, or goes on
        self._at_cut: Optional[Accumulator] = None  # what had come then, which a try without content does not change
        self._cut_text: Optional[tuple[str, str]] = None  # the text that is to go on, and the white space after it
        self._tries = 0  # that failed, where that counts
        self._request: Any = spec.request  # of the next try
        self._unwatch: Callable[[], object] = lambda: None

    # -- the caller's side -----------------------------------------------------------------------------------------

    def start(self) -> tuple[Channel[Any], Channel[AnyLLMError]]:
        """Begin, and give the receive ends of chunks and errors. Raises nothing and opens nothing on this thread."""
        self._chunks: Sender[Any]
        self._errors: Sender[AnyLLMError]
        self._chunks, chunks = open_channel(self.spec.options.buffer, on_drop=self._abandon)
        self._errors, errors = open_channel(1, on_stall=(_STALL, self._complain))
        errors._on_drop = self._unread = _Unread(errors._pipes[0])
        self._full = chunks._pipes[0]
        self._attempt = self._new_attempt(self.spec.answer())
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
            self._start_worker()
        except RuntimeError as exc:
            self._unwatch()
            self._fail(AnyLLMError(f"cannot start a thread: {exc}"), exc)

    def _start_worker(self, failure: Optional[AnyLLMError] = None) -> None:
        self._worker = worker = object()
        self._thread = threading.Thread(target=self._work, args=(worker, failure), name="anyllm-call", daemon=True)
        self._thread.start()

    def cancel(self, cause: object = None) -> None:
        """End this call only."""
        self.ctx.cancel(cause)

    def join(self, timeout: float) -> None:
        """Wait for the worker, for *timeout* seconds at most; a worker does not wait for itself."""
        thread = self._thread
        if thread is not None and thread.is_alive() and thread is not threading.current_thread():
            thread.join(timeout)

    def forget_connection(self) -> None:
        """In a child process, where the connection is the parent's and nothing is waited for."""
        try:
            self._call.forget()
        finally:
            self._attempt.stop_clocks()

    def _abandon(self) -> None:
        self.ctx.cancel("abandoned")  # which closes `chunks`, but only after the error has its place

    @property
    def partial(self) -> Any:
        """The response so far."""
        return self._answer.snapshot()

    @property
    def _answer(self) -> Accumulator:
        at_cut, reader = self._at_cut, self._attempt.reader
        return reader.answer if at_cut is None or reader.committed else at_cut

    @property
    def _call(self) -> AbortableCall:
        return self._attempt.call

    def _complain(self) -> bool:
        pipe = self._full
        is_stuck = not self._ended and len(pipe.items) >= pipe.maxsize and not pipe.receivers
        if is_stuck:
            _log.warning(
                "errors.get() waits for the end of a stream whose chunks nobody reads: "
                "read chunks to the end, or cancel"
            )
        return is_stuck

    # -- the end ---------------------------------------------------------------------------------------------------

    def _stop(self) -> None:
        """The context has ended: free the caller, then the worker. On any thread."""
        try:
            self._end(self._why_stopped())
        except BaseException:  # Ctrl-C, or a bug: nobody calls this again
            self._end(self._why_stopped())
            raise
        finally:
            if self.error is not None or not self._ended:  # else complete: the worker only gives the connection back
                self._call.abort()

    def _why_stopped(self) -> AnyLLMError:
        error = own_error(self.ctx)
        if isinstance(error, DeadlineExceeded) and self._given.error is None:
            error = DeadlineExceeded(f"the total of {self.spec.options.timeouts.total:g} s ran out")
        return error

    def _time_out(self, limit: Limit, seconds: float) -> None:
        """A clock ran out. On the timer's thread, and perhaps late."""
        attempt: Attempt = limit.attempt
        if limit.name == "tail":
            if not attempt.call.abort() and attempt.content_clock.runs and attempt.claim():
                self._end(None)  # it waits for the provider all the same: the session is the caller's own
            return
        waiting_for = {"connect": "a connection", "first_content": "the first content", "idle": "more content"}
        attempt.timed_out = error = StreamTimeoutError(
            f"waited {seconds:g} s for {waiting_for[limit.name]}",
            clock=limit.name,
            seconds=seconds,
            is_retryable=limit.name == "connect",
        )
        if not attempt.call.abort() and attempt.claim():
            # No socket to wake the worker by: it is resolving a name, which nothing interrupts, or the session is the
            # caller's own. Or the worker is between two sockets, and finds out that it is late.
            self._leave_behind(attempt, error)

    def _leave_behind(self, attempt: Attempt, error: StreamTimeoutError) -> None:
        """Go on after *attempt* without its worker, which can do nothing any more."""
        if attempt.reader.committed:
            self._end(error)
            return
        try:
            self._start_worker(error)
        except RuntimeError:
            self._unwatch()
            self._end(error)

    def _end(self, error: Optional[AnyLLMError]) -> bool:
        """
        End the call, once: error, then sentinel. Takes no lock; False when it had ended before.

        Whoever comes later does the rest again, which changes nothing, unless Ctrl-C stopped the first in between.
        """
        if error is not None and not self._ended:
            error = self._told(error)
        claim = (error,)
        first = self._ended.setdefault("with", claim)
        (self.error,) = first
        active_calls.remove(self)
        self._errors.close(last=self.error)
        self._chunks.close()
        if self._unread.dropped:
            self._unread()
        return first is claim

    def _told(self, error: AnyLLMError) -> AnyLLMError:
        """*error* with what is known here, and without the key. Whatever happens to it, the call ends."""
        try:
            error.provider = error.provider or self.spec.provider or None
            if self.streaming and error.partial is None and self.spec.options.keep_partial:
                error.partial = self.partial if self._answer.has_begun else None
            return scrub(error, *self._secrets)
        except Exception as exc:
            return AnyLLMError(f"a bug in anyllm: {type(exc).__name__} while it ended with {type(error).__name__}")

    def _fail(self, error: AnyLLMError, cause: BaseException) -> None:
        error.__cause__ = cause
        self._end(error)

    # -- the worker's side -----------------------------------------------------------------------------------------

    def _work(self, worker: object, failure: Optional[AnyLLMError]) -> None:
        monkey_patch.thread_begins()
        fork_guard.begins(lambda: bool(self._ended))
        try:
            self._try_until_it_works(failure)
        except AnyLLMError as exc:
            self._end(exc)
        except BaseException as exc:
            _log.exception("a bug in anyllm ended a call")
            words = f"a bug in anyllm: {type(exc).__name__}: {exc} (`anyllm doctor` checks the installation)"
            self._fail(AnyLLMError(words), exc)
        finally:
            if worker is self._worker:  # else left behind, and the call goes on
                self._unwatch()
                self._debug("call ended: %s", self.error or "complete")
            fork_guard.ends()
            monkey_patch.thread_ends()

    def _debug(self, text: str, *facts: object) -> None:
        if self._call_log is not None:
            self._call_log.step(text, *facts)

    def _try_until_it_works(self, failure: Optional[AnyLLMError]) -> None:
        """
        Try until an answer is whole. Raises what ends the call.

        Args:
            failure: What ended the try before, whose worker was left behind; None to begin with a try.
        """
        while True:
            attempt = self._attempt
            if failure is None:
                try:
                    self._try(self._request)
                    return
                except BaseException as exc:
                    if not attempt.claim():
                        return  # left behind: another thread goes on
                    if not isinstance(exc, AnyLLMError):
                        raise
                    failure = exc
            pause = self._pause_after(attempt, failure)
            if self.ctx.wait(pause):
                # `_stop` says so too, but whoever woke us may not have come to that, and we are about to take it back.
                raise self._why_stopped()
            failure = None

    def _pause_after(self, attempt: Attempt, failure: AnyLLMError) -> float:
        """Seconds until the next try, which is prepared; raises what ends the call where there is none."""
        # An end or a clock of ours comes first: the failure it provoked says nothing.
        error = self._own_verdict(attempt) or failure
        cause = failure if error is not failure else failure.__cause__
        if self._ended:
            raise error from cause
        request = self._request
        plainer = None if attempt.reader.committed else simpler(request, error)
        if plainer is not None:
            self._request = plainer
            self._forget_try()
            return 0.0
        self._tries += 1
        following = self._following(attempt, request, error, self._tries)
        if following is None:
            final = self._final(error)
            raise final from (cause if final is error else error)
        self._request, pause = following
        return pause

    def _following(
        self, attempt: Attempt, request: Request, error: AnyLLMError, tries: int
    ) -> Optional[tuple[Request, float]]:
        """What to send next, after so many seconds; None when *error* ends the call."""
        retry, left = self.spec.options.retry, self.ctx.remaining()
        self._debug("try %d ended: %s", tries, self._told(error))
        if not attempt.reader.committed:
            pause = pause_before_retry(error, tries, retry, left)
            if pause is not None:
                if self.spec.announces:
                    self._put(_retried("before_content", tries, error, pause, self.spec.provider))
                self._forget_try()
                return request, pause
            if self.cut is None:
                return None
            # A try after a cut brought nothing new, which is as if it had not been: what is left of the tries counts.
        pause = None if retry.after_content == "raise" else pause_after_cut(error, tries, retry, left)
        following = self._to_go_on() if retry.after_content == "continue" else request
        if pause is None or following is None:
            return None
        notice = _retried(retry.after_content, tries, error, pause, self.spec.provider)
        self.cut = self._told(error)
        answer = copy.deepcopy(self._answer)
        answer.add(notice)
        self._at_cut = answer
        self._put(notice)
        self._forget_try()
        return following, pause

    def _to_go_on(self) -> Optional[Request]:
        """The request for what follows the text so far; None where that cannot be asked for."""
        text = text_to_continue(self.partial)
        if text is None or self.spec.resume is None:
            return None
        begun = text.rstrip()
        self._cut_text = begun, text[len(begun) :]
        try:
            return self.spec.resume(begun)
        except AnyLLMError:  # the host takes no beginning together with what else is asked for
            return None

    def _final(self, error: AnyLLMError) -> AnyLLMError:
        """What ends the call: not that a host refuses to go on, but what cut the answer."""
        return self.cut if self.cut is not None and isinstance(error, InvalidRequestError) else error

    def _put(self, chunk: ChatCompletionChunk) -> None:
        if not self._chunks.put(chunk):
            raise Cancelled

    def _own_verdict(self, attempt: Attempt) -> Optional[AnyLLMError]:
        return self._why_stopped() if self.ctx.cancelled else attempt.timed_out

    def _new_attempt(self, answer: Accumulator) -> Attempt:
        return Attempt(answer, self._chunks, self.spec.options, self._time_out, active_calls.is_crowded)

    def _forget_try(self) -> None:
        at_cut = self._at_cut
        self._attempt = self._new_attempt(self.spec.answer() if at_cut is None else copy.deepcopy(at_cut))

    def _decoder(self) -> Decoder:
        decoder = self.spec.dialect.decoder()
        return decoder if self._cut_text is None else Stitched(decoder, *self._cut_text)

    def _try(self, request: Request) -> None:
        timeouts = self.spec.options.timeouts
        target = self.spec.target()
        attempt = self._attempt
        self._debug("try begins: %s %s, %d bytes", request.method, request.path.partition("?")[0], len(request.body))
        if self.ctx.cancelled:  # after the attempt is known to `_stop`, which may have come just before
            raise self._why_stopped()
        url = _joined(target.base_url, request.path)
        encoding = {"Accept-Encoding": "gzip, deflate"} if self.spec.options.compression else {}
        headers = {**encoding, **target.headers, **request.headers}
        self._secrets = secrets_in(target.secret, headers, url)
        if target.sign is not None:
            headers = {**headers, **target.sign(request.method, url, headers, request.body)}
            self._secrets = secrets_in(target.secret, headers, url)
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
                self._read(attempt, response)
            except AnyLLMError as exc:
                is_page = "html" in (response.headers.get("content-type") or "")
                exc.hint = exc.hint or wrong_url(exc, url, target.custom_base_url, is_page)
                raise
            finally:
                response.close()
        finally:
            attempt.stop_clocks()

    def _read(self, attempt: Attempt, response: Response) -> None:
        self._raise_if_stopped(attempt)
        limit = self.spec.options.max_event_bytes
        if self._call_log is not None:
            self._call_log.answer(response)
        self.request_id = next(filter(None, map(response.headers.get, _REQUEST_IDS)), None)
        if not 200 <= response.status < 300:
            body = response.text_so_far(limit)
            self._raise_if_stopped(attempt)
            raise self.spec.dialect.error(response.status, response.headers, body)
        try:
            if self.spec.parse is None:
                attempt.reader.read(response, self._decoder())
            else:
                self._read_whole(attempt, response.read(limit))
        except APIError as exc:
            exc.request_id = exc.request_id or self.request_id
            raise
        self._end(None)
        response.drain(_DRAIN)

    def _read_whole(self, attempt: Attempt, body: bytes) -> None:
        assert self.spec.parse is not None
        attempt.content_clock.stop()  # the provider has done its part: a large answer takes us a while
        answer = self.spec.parse(body)
        attempt.commit()
        self._chunks.put(answer)

    def _raise_if_stopped(self, attempt: Attempt) -> None:
        verdict = self._own_verdict(attempt)
        if verdict is not None:
            raise verdict


def start(ctx: Context, spec: CallSpec) -> tuple[Pump, Channel[Any], Channel[AnyLLMError]]:
    """Begin a call: its control, and the receive ends of its chunks (or of its one whole answer) and its errors."""
    pump = Pump(ctx, spec)
    return (pump, *pump.start())


def _joined(base_url: str, path: str) -> str:
    """The request's path behind the base URL's; a query of the base URL (a version, a token) stays the last."""
    base, mark, query = base_url.partition("?")
    if not mark:
        return base + path
    return f"{base.rstrip('/')}{path}{'&' if '?' in path else '?'}{query}"


def _retried(policy: str, tries: int, error: AnyLLMError, pause: float, provider: str) -> ChatCompletionChunk:
    """The chunk that says so."""
    return ChatCompletionChunk(provider=provider, retry=RetryNotice(policy, tries + 1, str(error), pause))


class _Unread:
    """
    Runs when ``errors`` is let go of, and again when the call ends after that: an error that nobody received is at
    least logged, soon, because this may be a finalizer.
    """

    def __init__(self, pipe: Any) -> None:
        self._pipe = pipe
        self.dropped = False

    def __call__(self) -> None:
        self.dropped = True  # first: who ends the call puts the error first, and looks at this then
        error = self._pipe.take()
        if isinstance(error, AnyLLMError) and not isinstance(error, Cancelled):  # whoever cancelled knows
            background.log(logging.WARNING, "a stream ended with an error that nobody received: %s", error)
