"""
What follows a failed attempt: a retry, an answer that restarts or continues, or the end of the call.

Strategy: before the first content a retry loses nothing, so error and policy decide. After it the caller's
`Retry.after_content` decides. The answer is stored as it was when it was interrupted, because attempts that fail before
they bring content must not change it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Optional

from anyllm._stream.answer_reader import Accumulator
from anyllm._stream.call_spec import CallSpec
from anyllm._stream.resume import ContinuationDecoder, text_to_continue
from anyllm._stream.retry import pause_after_interruption, pause_before_retry, without_refused_parameter
from anyllm.errors import AnyLLMError, InvalidRequestError
from anyllm.types import ChatCompletionChunk, RetryNotice
from anyllm.wire._base.protocols import Decoder, Request


class Recovery:
    """
    Used by the worker of one call; other threads only read the attributes.

    Args:
        spec: The call.
        put: Hands a chunk to the caller; raises where nobody receives.

    Attributes:
        request: The request of the next attempt.
        failures: How many attempts have failed. One that only failed because of a parameter we added does not count.
        interruption: The error after which the answer restarts or continues; None while there is none.
        interrupted_answer: The answer at that moment, with the notice; None while there is none.
    """

    def __init__(self, spec: CallSpec, put: Callable[[ChatCompletionChunk], object]) -> None:
        self.request: Any = spec.request
        self.failures = 0
        self.interruption: Optional[AnyLLMError] = None
        self.interrupted_answer: Optional[Accumulator] = None
        self._spec = spec
        self._put = put
        self._text_to_continue: Optional[tuple[str, str]] = None  # and the white space that was stripped from its end

    def new_accumulator(self) -> Accumulator:
        """The accumulator of the next attempt."""
        answer = self.interrupted_answer
        return self._spec.new_accumulator() if answer is None else copy.deepcopy(answer)

    def new_decoder(self) -> Decoder:
        """The decoder of the next attempt."""
        decoder, text = self._spec.dialect.decoder(), self._text_to_continue
        return decoder if text is None else ContinuationDecoder(decoder, *text)

    def drop_refused_parameter(self, error: AnyLLMError) -> bool:
        """Whether *error* refuses a parameter that we added; the next request goes without it."""
        request = without_refused_parameter(self.request, error)
        if request is None:
            return False
        self.request = request
        return True

    def pause_after(
        self, error: AnyLLMError, answer: Accumulator, *, committed: bool, left: Optional[float]
    ) -> Optional[float]:
        """
        Seconds until the next attempt, which is announced where the caller wants to see it; None for the end.

        Args:
            error: Why the attempt failed.
            answer: What the caller has received of the answer.
            committed: Whether the attempt brought some of it.
            left: Seconds the Context has left; None for no limit.
        """
        if not committed:
            pause = pause_before_retry(error, self.failures, self._spec.options.retry, left)
            if pause is not None and self._spec.announce_retries:
                self._put(self._notice("before_content", error, pause))
            if pause is not None or self.interruption is None:
                return pause
            # It brought nothing after the interruption, so its error counts as one more interruption.
        return self._pause_after_content(error, answer, left)

    def _pause_after_content(self, error: AnyLLMError, answer: Accumulator, left: Optional[float]) -> Optional[float]:
        retry = self._spec.options.retry
        if retry.after_content == "raise":
            return None
        pause = pause_after_interruption(error, self.failures, retry, left)
        request = self.request if retry.after_content == "restart" else self._continuation(answer)
        if pause is None or request is None:
            return None
        notice = self._notice(retry.after_content, error, pause)
        answer = copy.deepcopy(answer)
        answer.add(notice)
        self.request, self.interruption, self.interrupted_answer = request, error, answer
        self._put(notice)
        return pause

    def _continuation(self, answer: Accumulator) -> Optional[Request]:
        """The request for what follows the text so far; None where the provider cannot continue it."""
        text = text_to_continue(answer.snapshot())
        if text is None or self._spec.resume is None:
            return None
        stripped = text.rstrip()
        self._text_to_continue = stripped, text[len(stripped) :]
        try:
            return self._spec.resume(stripped)
        except AnyLLMError:  # the provider does not accept the beginning of an answer beside another parameter
            return None

    def _notice(self, policy: str, error: AnyLLMError, pause: float) -> ChatCompletionChunk:
        retry = RetryNotice(policy, self.failures + 1, str(error), pause)
        return ChatCompletionChunk(provider=self._spec.provider, retry=retry)

    def final_error(self, error: AnyLLMError) -> AnyLLMError:
        """Prefer the error that interrupted the answer over a later refusal to continue it."""
        is_refusal = isinstance(error, InvalidRequestError)
        return self.interruption if is_refusal and self.interruption is not None else error
