"""
`Client`: a model, or several, with the settings that all of its calls share.

Strategy: a `Client` adds to the provider's calls and changes nothing in them: the admission of a call (`_admission`),
the order of several models (`_routing`), prices and a cache (`_client_request`).
"""

from __future__ import annotations

import inspect
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Optional, Union, cast

from anyllm import caching, structured, tokens
from anyllm._hints.arguments import check_stream, explain_call, kind_of, whole_number
from anyllm._hints.names import ATTRIBUTES, no_attribute
from anyllm.client._admission import Admission, BreakerSettings
from anyllm.client._call_arguments import (
    Messages,
    check_parameter_names,
    check_types,
    message_list,
    optional_seconds,
    require_messages,
    split_params,
)
from anyllm.client._chat_stream import ChatStream
from anyllm.client._client_request import IDEMPOTENCY_KEY, ClientCall, ClientResources, call_with_lease
from anyllm.client._models import ClientModels
from anyllm.client._routing import Router, Target
from anyllm.context import Context
from anyllm.events import has_callbacks
from anyllm.limits import CircuitBreaker, RateLimit, StreamLimit
from anyllm.options import StreamingOptions, pump_options, streaming_options
from anyllm.pricing import Price
from anyllm.providers.provider import ApiKey, Options, Provider
from anyllm.types import ChatCompletion, CompletionParams, EmbeddingParams, Embeddings, Model, _convert


class Client:
    """
    A model, or several, with the settings that all of its calls share. Shared freely between threads::

        client = Client("openai/gpt-4o-mini", temperature=0)
        print(client.chat("What is the capital of France?").content)
        for text in client.stream("Tell me a story."):
            print(text, end="", flush=True)

    Args:
        model: "provider/model"; bare where *provider* is given. None if each call names its model.
        provider: The name of a provider, or a `Provider`.
        api_key: The key of *model*'s provider, or a function that returns it.
        base_url: The server of *model*'s provider.
        options: Options of all calls.
        timeout: Seconds for each call, unless the call has its own timeout.
        fallback: Models ("provider/model") that are tried in turn when those before them fail without any content.
        strategy: Which model is tried first: "order", "round_robin", "cheapest" or "fastest".
        hedge: Seconds without content after which the next model is tried as well; the first with content wins, and
            the others are cancelled. None for never.
        rate_limit: Limit of requests and tokens a minute; clients with the same object share it.
        max_streams: How many calls may run at once, or a `StreamLimit` to share.
        breaker: A `CircuitBreaker` for all providers, or the settings (a dict) of one for each.
        cache: Stores whole answers; see `anyllm.caching`. An equal request is then sent once.
        cache_ttl: Seconds for which an answer is stored; None for the cache's default.
        prices: Your own prices, as in `anyllm.pricing.cost_of`.
        defaults: Parameters of `CompletionParams` for each call, unless the call has its own.

    Raises:
        TypeError: there is no such parameter, or one has the wrong type.
        UnsupportedProviderError: there is no such provider.
    """

    @explain_call("Client('openai/gpt-4o-mini', api_key=..., base_url=..., timeout=...)")
    def __init__(
        self,
        model: Optional[str] = None,
        *,
        provider: Union[str, Provider, None] = None,
        api_key: ApiKey = None,
        base_url: Optional[str] = None,
        options: Options = None,
        timeout: Optional[float] = None,
        fallback: Sequence[Union[str, Target]] = (),
        strategy: str = "order",
        hedge: Optional[float] = None,
        rate_limit: Optional[RateLimit] = None,
        max_streams: Union[int, StreamLimit, None] = None,
        breaker: BreakerSettings = None,
        cache: Optional[caching.Cache] = None,
        cache_ttl: Optional[float] = None,
        prices: Optional[Mapping[str, Any]] = None,
        **defaults: Any,
    ) -> None:
        self.options = StreamingOptions() if options is None else streaming_options(options)
        self._timeout = optional_seconds("timeout", timeout)
        self._models = ClientModels(model, provider, api_key, base_url, fallback)
        self._router = Router(self.targets, strategy, prices)
        self._hedge = optional_seconds("hedge", hedge)
        check_types(rate_limit=(rate_limit, RateLimit), max_streams=(max_streams, (int, StreamLimit)))
        check_types(breaker=(breaker, (CircuitBreaker, Mapping)), strategy=(strategy, str))
        if cache is not None and not (callable(getattr(cache, "get", None)) and callable(getattr(cache, "set", None))):
            raise TypeError(f"cache must have get and set, as anyllm.caching.MemoryCache() has, not {cache!r:.40}")
        self._resources = ClientResources(
            admission=Admission(
                rate_limit,
                StreamLimit(whole_number("max_streams", max_streams)) if isinstance(max_streams, int) else max_streams,
                breaker,
            ),
            prices={name: _convert.structure(Price, price) for name, price in (prices or {}).items()},
            cache=None if cache is None else caching.Guarded(cache),
            cache_ttl=optional_seconds("cache_ttl", cache_ttl),
        )
        if "stream" in defaults:
            raise TypeError(
                "stream is no setting of a Client: chat() waits for the whole answer, chat_stream() streams"
            )
        self._defaults = defaults
        self._params("", {})  # raises here for wrong defaults, and not in the first call

    # -- calls -----------------------------------------------------------------------------------------------------

    @require_messages
    def chat(
        self,
        messages: Messages,
        model: Optional[str] = None,
        *,
        ctx: Optional[Context] = None,
        timeout: Optional[float] = None,
        options: Options = None,
        idempotency_key: Union[str, bool, None] = None,
        **params: Any,
    ) -> ChatCompletion:
        """
        Send messages, and wait for the whole answer.

        Args:
            messages: A text, a message, the conversation, or whole `CompletionParams`; or a dict in the shape of one.
            model: Another model for this call, without fallbacks; None for the client's models.
            ctx: Ends the call.
            timeout: Seconds for the call.
            options: Options of this call.
            idempotency_key: Sent as ``Idempotency-Key``, so that a provider that supports it runs a retried request
                once; True for a new key.
            params: Parameters of `CompletionParams`, which win over those in *messages*. ``tools`` may contain
                functions, and ``response_format`` may be a class: ``parsed`` of the answer is then an instance.

        Raises:
            AnyLLMError: the error that ended the call.
            TypeError: there is no such parameter, one has the wrong type, or it is ``stream=True``.
        """
        call = self._call(False, messages, model, ctx, timeout, options, idempotency_key, params)
        if call.hedge is not None and len(call.targets) > 1:
            return ChatStream(call.plan()).collect()
        return call.complete_with_callbacks() if has_callbacks(call.options) else call.complete()

    @require_messages
    def chat_stream(
        self,
        messages: Messages,
        model: Optional[str] = None,
        *,
        ctx: Optional[Context] = None,
        timeout: Optional[float] = None,
        options: Options = None,
        idempotency_key: Union[str, bool, None] = None,
        **params: Any,
    ) -> ChatStream:
        """
        Send messages, and stream the answer.

        The request is sent at once, or as soon as the limits allow. The arguments and TypeErrors are those of `chat`;
        all other errors are raised where the stream is read.
        """
        return ChatStream(self._call(True, messages, model, ctx, timeout, options, idempotency_key, params).plan())

    @require_messages
    def stream(self, messages: Messages, model: Optional[str] = None, **params: Any) -> Iterator[str]:
        """
        Only the text of `chat_stream`, piece by piece, with the same arguments.

        `stream_with_usage` also gives tokens and cost; `chat_stream` has both the pieces and the answer.

        Raises:
            AnyLLMError: the error that ended the stream, after the text that came.
            TypeError: as `chat` does.
        """
        return self.chat_stream(messages, model, **params).text_stream

    @require_messages
    def stream_with_usage(self, messages: Messages, model: Optional[str] = None, **params: Any) -> ChatCompletion:
        """
        Stream the answer to its end and return it whole, with its ``usage`` and ``cost_usd``.

        It is ``chat_stream(...).collect()``, with the same arguments: callbacks are called while it comes, and the
        timeouts are those of a stream.

        Raises:
            AnyLLMError: the error that ended the stream; its ``partial`` has the answer so far.
            TypeError: as `chat` does.
        """
        return self.chat_stream(messages, model, **params).collect()

    def embed(
        self,
        input: Union[str, Sequence[str]],
        *,
        model: Optional[str] = None,
        ctx: Optional[Context] = None,
        timeout: Optional[float] = None,
        options: Options = None,
        **params: Any,
    ) -> Embeddings:
        """
        Make embeddings of texts, with the client's first model or *model*.

        Args:
            input: A text, or a list of texts.
            model: Another model for this call.
            ctx: Ends the call.
            timeout: Seconds for the call.
            options: Options of this call.
            params: Parameters of `EmbeddingParams`, such as ``dimensions``.

        Returns:
            `Embeddings`: its ``vectors`` are in the order of the texts.

        Raises:
            AnyLLMError: the error that ended the call.
            TypeError: there is no such parameter, or one has the wrong type.
        """
        target = self._models.main if model is None else self._models.other(model)
        request = _convert.structure(EmbeddingParams, {"model": target.model, "input": input, **params})
        call_options = pump_options(self.options if options is None else streaming_options(options))
        with self._call_context(ctx, timeout) as call_ctx:
            lease = self._resources.admission.enter(
                call_ctx, target.provider.name, lambda: tokens.count_tokens(str(input)).tokens
            )

            def embed() -> Embeddings:
                return target.provider.embedding(call_ctx, request, options=call_options, **target.credentials)

            return cast(Embeddings, call_with_lease(lease, embed))

    def models(self, *, ctx: Optional[Context] = None, timeout: Optional[float] = None) -> list[Model]:
        """
        The models of the client's provider.

        Raises:
            AnyLLMError: the error that ended the call.
        """
        home = self._models.home
        if home is None:
            raise TypeError("whose models? Name a model or a provider: Client(provider='openai').models()")
        with self._call_context(ctx, timeout) as call_ctx:
            return home.provider.list_models(call_ctx, **home.credentials, options=pump_options(self.options))

    @property
    def targets(self) -> tuple[Target, ...]:
        """The first model and its fallbacks, each with its provider."""
        return self._models.targets

    def close(self) -> None:
        """Close the client's own idle connections; running calls go on, and the client can be used again."""
        self._models.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        names = ", ".join(target.name for target in self.targets)
        return f"<Client {names or 'without a model'}>"

    if not TYPE_CHECKING:  # type checkers are to report unknown names

        def __getattr__(self, name):
            raise no_attribute("a Client", name, ATTRIBUTES["Client"])

        def __setattr__(self, name, value):
            # Calls ignore any other attribute. Tests may replace methods, and subclasses may have more attributes.
            if type(self) is Client and name[0] != "_" and name != "options" and not hasattr(Client, name):
                raise AttributeError(f"a Client's settings do not change: make another one, Client(..., {name}=...)")
            object.__setattr__(self, name, value)

    def __reduce__(self) -> Any:
        raise TypeError("a Client cannot be copied or pickled: make one in each process, and share it between threads")

    # -- one call --------------------------------------------------------------------------------------------------

    def _call(
        self,
        streams: bool,
        messages: Messages,
        model: Optional[str],
        ctx: Optional[Context],
        timeout: Optional[float],
        options: Options,
        idempotency_key: Union[str, bool, None],
        params: dict[str, Any],
    ) -> ClientCall:
        messages, others = split_params(messages)
        if self._models.is_main(others.get("model")):
            del others["model"]  # it is there because `CompletionParams` requires a model
        params = {**others, **params}
        check_stream(params.pop("stream", None), streams, whole="chat()", streamed="chat_stream()")
        if model is not None:
            params["model"] = model
        response_format = params.get("response_format", self._defaults.get("response_format"))
        request = self._params(messages, params)
        if idempotency_key:
            key = str(uuid.uuid4()) if idempotency_key is True else idempotency_key
            request = request.evolve(extra_headers={IDEMPOTENCY_KEY: key, **(request.extra_headers or {})})
        call_options = self.options if options is None else streaming_options(options)
        return ClientCall(
            ctx=self._call_context(ctx, timeout).child(call_options.timeouts.total),
            params=request,
            options=call_options,
            targets=self._targets_of(params.get("model")),
            router=self._router,
            hedge=self._hedge,
            response_class=None if isinstance(response_format, Mapping) else response_format,
            resources=self._resources,
        )

    def _params(self, messages: Messages, params: Mapping[str, Any]) -> CompletionParams:
        fields = {**self._defaults, **params}
        check_parameter_names(fields, _SETTINGS)
        fields["messages"] = message_list(messages)
        fields["model"] = self._models.main_name
        if fields.get("response_format") is not None:
            fields["response_format"] = structured.response_format(fields["response_format"])
        if fields.get("tools"):
            from anyllm import tools  # few calls have tools

            fields["tools"] = tools.tools_in(fields["tools"])[0]
        return CompletionParams(**fields)

    def _targets_of(self, model: Optional[str]) -> tuple[Target, ...]:
        """The models that a call tries; *model* is the one that the call names, if it names one."""
        if model is not None:
            return (self._models.other(model),)
        _ = self._models.main  # TypeError where there is none
        return self._router.order()

    def _call_context(self, ctx: Optional[Context], timeout: Optional[float]) -> Context:
        if ctx is not None and not isinstance(ctx, Context):
            raise TypeError(f"ctx must be a Context, not {kind_of(ctx)}: write anyllm.Context(timeout=60)")
        return Context(self._timeout if timeout is None else timeout, parent=ctx)


_SETTINGS = frozenset(inspect.signature(Client).parameters) - {"defaults"}
