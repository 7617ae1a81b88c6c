"""
The calls for people who do not want to hold two channels: text in, an answer or a stream out, errors raised.

Strategy: a `Client` puts things around the provider's calls and changes nothing in them: what a call waits for before
it is sent, who is asked next when one fails, what is counted when nobody counted, what is kept. Each of these has a
module of its own; here they are put together for one call.
"""

from __future__ import annotations

import functools
import inspect
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Optional, TypeVar, Union, cast

import attrs

from anyllm import caching, structured, tokens
from anyllm._hints.arguments import check_stream, did_you_mean, explain_call, kind_of, whole_number
from anyllm._hints.names import ATTRIBUTES, instead_of, no_attribute
from anyllm.client._admission import Admission, BreakerSettings
from anyllm.client._chat_stream import ChatStream
from anyllm.client._client_request import IDEMPOTENCY, ClientCall, ClientResources, ended
from anyllm.client._routing import Router, Target
from anyllm.context import Context
from anyllm.events import has_callbacks
from anyllm.limits import CircuitBreaker, RateLimit, StreamLimit
from anyllm.options import Retry, StreamingOptions, Timeouts, in_the_pump, streaming_options
from anyllm.pricing import Price
from anyllm.providers import registry
from anyllm.providers.provider import ApiKey, Options, Provider
from anyllm.types import ChatCompletion, CompletionParams, EmbeddingParams, Embeddings, Message, Model, _convert

__all__ = ["ChatStream", "Client"]

#: What to ask: a text, a message, a conversation of messages, or `CompletionParams`. Dicts in their shapes do as well.
Messages = Union[str, Message, CompletionParams, Mapping[str, Any], Sequence[Union[Message, Mapping[str, Any]]]]
F = TypeVar("F", bound=Callable[..., Any])


def _asks(method: F) -> F:
    """Answer a call without a question with the right one, which Python's own TypeError does not show."""

    @functools.wraps(method)
    def checked(client: Any, *args: Any, **kwargs: Any) -> Any:
        if not args and "messages" not in kwargs:
            name = method.__name__
            other = next((key for key in ("prompt", "input", "text", "message", "request") if key in kwargs), None)
            hint = "" if other is None else f", or messages= instead of {other}="
            raise TypeError(f"{name}() takes what to ask first: client.{name}('Hello'){hint}")
        return method(client, *args, **kwargs)

    return cast(F, checked)


class Client:
    """
    A model, or several, with everything that its calls have in common. Shared freely between threads::

        client = Client("openai/gpt-4o-mini", temperature=0)
        print(client.chat("What is the capital of France?").content)
        for text in client.stream("Tell me a story."):
            print(text, end="", flush=True)

    Args:
        model: "provider/model"; bare where *provider* is given. None for a client whose calls each name one.
        provider: A name or object.
        api_key: The key of *model*'s provider, or a function that gives it.
        base_url: Its server.
        options: How calls behave.
        timeout: Seconds for each call, unless it has its own.
        fallback: Models ("provider/model") that are asked in turn where the ones before fail without a content.
        strategy: Which is asked first: "order", "round_robin", "cheapest" or "fastest".
        hedge: Seconds without content after which the next of them is asked as well; the first with content wins, and
            the others are cancelled. None for never.
        rate_limit: How many requests and tokens a minute; shared by whoever has the same object.
        max_streams: How many calls may run at once, or a `StreamLimit` to share.
        breaker: A `CircuitBreaker` for all providers, or the settings (a dict) of one for each.
        cache: Keeps whole answers; see `anyllm.caching`. Equal questions are then asked once.
        cache_ttl: Seconds for which an answer is kept; None for as long as the cache does.
        prices: Prices of your own, as `anyllm.pricing.cost_of` takes them.
        defaults: Parameters of `CompletionParams` for each call, unless it has its own.

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
        self.options = _options(options) or StreamingOptions()
        self._timeout = _seconds("timeout", timeout)
        self._provider = provider
        #: Where the key and the server belong; without a model, if it is only a provider. None where neither is named.
        self._home = _home(model, provider, api_key, base_url)
        self._main = None if model is None else self._home
        if model is None and fallback:
            raise TypeError("fallback= comes after a model: Client('openai/gpt-4o-mini', fallback=[...])")
        others = (other if isinstance(other, Target) else _target(other) for other in _names(fallback))
        self._fallback = tuple(map(self._at_home, others))
        self._router = Router(self.targets, strategy, prices)
        self._hedge = _seconds("hedge", hedge)
        _check_kinds(rate_limit=(rate_limit, RateLimit), max_streams=(max_streams, (int, StreamLimit)))
        _check_kinds(breaker=(breaker, (CircuitBreaker, Mapping)), strategy=(strategy, str))
        if cache is not None and not (callable(getattr(cache, "get", None)) and callable(getattr(cache, "set", None))):
            raise TypeError(f"cache must have get and set, as anyllm.caching.MemoryCache() has, not {cache!r:.40}")
        self._around = ClientResources(
            admission=Admission(
                rate_limit,
                StreamLimit(whole_number("max_streams", max_streams)) if isinstance(max_streams, int) else max_streams,
                breaker,
            ),
            prices={name: _convert.structure(Price, price) for name, price in (prices or {}).items()},
            cache=None if cache is None else caching.Guarded(cache),
            cache_ttl=_seconds("cache_ttl", cache_ttl),
        )
        if "stream" in defaults:
            raise TypeError(
                "stream is no setting of a Client: chat() waits for the whole answer, chat_stream() streams"
            )
        self._defaults = defaults
        self._params("", {})  # what is wrong with the defaults is said here

    # -- calls -----------------------------------------------------------------------------------------------------

    @_asks
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
        Ask, and wait for the whole answer.

        Args:
            messages: A text, a message, the conversation, or whole `CompletionParams`; or a dict in the shape of one.
            model: Another model, this once; it is asked alone. The client's own, where it is None.
            ctx: Ends the call.
            timeout: Seconds, at most.
            options: How this call behaves.
            idempotency_key: Sent as ``Idempotency-Key``, so that a host that knows it answers a repeated try once; True
                for a new one.
            params: Parameters of `CompletionParams`, which win over those in *messages*. ``tools`` may hold functions,
                and ``response_format`` a class, whose instance the answer then has as ``parsed``.

        Raises:
            AnyLLMError: why there is no answer.
            TypeError: there is no such parameter, one has the wrong type, or it is ``stream=True``.
        """
        call = self._call(False, messages, model, ctx, timeout, options, idempotency_key, params)
        if call.hedge is not None and len(call.targets) > 1:
            return ChatStream(call.plan()).collect()
        return call.whole_told() if has_callbacks(call.options) else call.whole()

    @_asks
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
        Ask, and get the answer as it comes.

        The call is sent at once; where a rate or a number of calls is kept, as soon as it may be. Args and raised
        TypeError are those of `chat`; all else that goes wrong is raised where the stream is read.
        """
        return ChatStream(self._call(True, messages, model, ctx, timeout, options, idempotency_key, params).plan())

    @_asks
    def stream(self, messages: Messages, model: Optional[str] = None, **params: Any) -> Iterator[str]:
        """
        Just the text of `chat_stream`, piece by piece, with the same arguments.

        For tokens and cost too, there is `stream_with_usage`; `chat_stream` has both the pieces and the answer.

        Raises:
            AnyLLMError: why the text is not whole, at its end.
            TypeError: as `chat` does.
        """
        return self.chat_stream(messages, model, **params).text_stream

    @_asks
    def stream_with_usage(self, messages: Messages, model: Optional[str] = None, **params: Any) -> ChatCompletion:
        """
        Ask, read the stream to its end, and give the whole answer, with its ``usage`` and ``cost_usd``.

        It is ``chat_stream(...).collect()``, with the same arguments: callbacks are called while it comes, and the
        clocks are those of a stream.

        Raises:
            AnyLLMError: why the answer is not whole; its ``partial`` holds what came.
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
        Make vectors of texts, with the client's first model or *model*.

        Args:
            input: A text, or a list of texts.
            model: Another model, this once.
            ctx: Ends the call.
            timeout: Seconds, at most.
            options: How this call behaves.
            params: Parameters of `EmbeddingParams`, such as ``dimensions``.

        Returns:
            `Embeddings`: its ``vectors`` are in the order of the texts.

        Raises:
            AnyLLMError: why there are none.
            TypeError: there is no such parameter, or one has the wrong type.
        """
        target = self._needed() if model is None else self._other(model)
        asked = _convert.structure(EmbeddingParams, {"model": target.model, "input": input, **params})
        with self._child(ctx, timeout) as child:
            lease = self._around.admission.enter(
                child, target.host.name, lambda: tokens.count_tokens(str(input)).tokens
            )
            how = in_the_pump(_options(options) or self.options)
            where = target.where
            return cast(Embeddings, ended(lease, lambda: target.host.embedding(child, asked, options=how, **where)))

    def models(self, *, ctx: Optional[Context] = None, timeout: Optional[float] = None) -> list[Model]:
        """
        The models that the first model's provider has.

        Raises:
            AnyLLMError: why there is no list.
        """
        home = self._home
        if home is None:
            raise TypeError("whose models? Name a model or a provider: Client(provider='openai').models()")
        with self._child(ctx, timeout) as child:
            return home.host.list_models(child, **home.where, options=in_the_pump(self.options))

    @property
    def targets(self) -> tuple[Target, ...]:
        """The models that are asked, as they were given: which host each is at, and its name there."""
        return () if self._main is None else (self._main, *self._fallback)

    def close(self) -> None:
        """Close idle connections of its own; running calls go on, and the client can be used again."""
        for target in (*self.targets, self._home):
            if target is not None and target.is_own:
                target.host.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        names = ", ".join(target.name for target in self.targets)
        return f"<Client {names or 'without a model'}>"

    if not TYPE_CHECKING:  # which is to find names that are not there

        def __getattr__(self, name):
            raise no_attribute("a Client", name, ATTRIBUTES["Client"])

        def __setattr__(self, name, value):
            # What no call would look at is no setting. Methods may be replaced, as tests do, and subclasses have more.
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
        messages, others = _unpacked(messages)
        if self._is_own(others.get("model")):
            del others["model"]  # which `CompletionParams` cannot be without
        params = {**others, **params}
        check_stream(params.pop("stream", None), streams, whole="chat()", streamed="chat_stream()")
        if model is not None:
            params["model"] = model
        wanted = params.get("response_format", self._defaults.get("response_format"))
        asked = self._params(messages, params)
        if idempotency_key:
            key = str(uuid.uuid4()) if idempotency_key is True else idempotency_key
            asked = asked.evolve(extra_headers={IDEMPOTENCY: key, **(asked.extra_headers or {})})
        how = _options(options) or self.options
        return ClientCall(
            ctx=self._child(ctx, timeout).child(how.timeouts.total),
            params=asked,
            options=how,
            targets=self._targets_of(params.get("model")),
            router=self._router,
            hedge=self._hedge,
            wanted=None if wanted is None or isinstance(wanted, Mapping) else wanted,
            resources=self._around,
        )

    def _params(self, messages: Messages, params: Mapping[str, Any]) -> CompletionParams:
        given = {**self._defaults, **params}
        _check_names(given)
        given["messages"] = _messages(messages)
        given["model"] = "" if self._main is None else self._main.model
        if given.get("response_format") is not None:
            given["response_format"] = structured.response_format(given["response_format"])
        if given.get("tools"):
            from anyllm import tools  # few calls have any

            given["tools"] = tools.tools_in(given["tools"])[0]
        return CompletionParams(**given)

    def _targets_of(self, model: Optional[str]) -> tuple[Target, ...]:
        """The models of one call; *model* is the one that it names itself, which is asked alone."""
        if model is not None:
            return (self._other(model),)
        self._needed()
        return self._router.order()

    def _is_own(self, model: Any) -> bool:
        """Whether that is the client's first model, as it was given or with its provider."""
        main = self._main
        if main is None or model is None:
            return False
        return bool(model == main.name or (self._provider is not None and model == main.model))

    def _needed(self) -> Target:
        if self._main is None:
            raise TypeError("which model? Client('openai/gpt-4o-mini'), or model='openai/gpt-4o-mini' in the call")
        return self._main

    def _other(self, model: str) -> Target:
        """Another model: bare where the client has a provider, and with the client's key and server at the same one."""
        if self._provider is not None and self._home is not None:
            return attrs.evolve(self._home, model=model)
        return self._at_home(_target(model))

    def _at_home(self, other: Target) -> Target:
        """*other*, with the client's key and server where it is at the same host and has none of its own."""
        home = self._home
        shares = home is not None and other.host.name == home.host.name and not other.is_own
        return attrs.evolve(home, model=other.model) if home is not None and shares else other

    def _child(self, ctx: Optional[Context], timeout: Optional[float]) -> Context:
        if ctx is not None and not isinstance(ctx, Context):
            raise TypeError(f"ctx must be a Context, not {kind_of(ctx)}: write anyllm.Context(timeout=60)")
        seconds = self._timeout if timeout is None else timeout
        return Context(seconds, parent=ctx)


def _options(options: Options) -> Optional[StreamingOptions]:
    return None if options is None else streaming_options(options)


def _check_kinds(**given: tuple[Any, Any]) -> None:
    """
    What is wrong with a setting is said where it is given, not by the first call.

    Raises:
        TypeError: a value is neither None nor of its kind.
    """
    for name, (value, kinds) in given.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, kinds)):
            kind = " or ".join(one.__name__ for one in (kinds if isinstance(kinds, tuple) else (kinds,)))
            raise TypeError(f"{name} must be {kind}{_EXAMPLES.get(name, '')}, not {kind_of(value)}")


def _seconds(name: str, value: Optional[float]) -> Optional[float]:
    _check_kinds(**{name: (value, (int, float))})
    if value is not None and not value >= 0:
        raise ValueError(f"{name} must not be negative or NaN: {value!r}")
    return value


_EXAMPLES = {
    "rate_limit": ", as in anyllm.limits.RateLimit(requests_per_minute=60)",
    "breaker": ", as in anyllm.limits.CircuitBreaker()",
}
_PARAMS = frozenset(field.name for field in attrs.fields(CompletionParams))
_OPTIONS = frozenset(field.name for cls in (StreamingOptions, Timeouts, Retry) for field in attrs.fields(cls))
_SETTINGS = frozenset(inspect.signature(Client).parameters) - {"defaults"}


def _check_names(params: Mapping[str, Any]) -> None:
    """
    What no model takes is said with where it belongs.

    Raises:
        TypeError: a name is none of `CompletionParams`.
    """
    stray = next((name for name in params if name not in _PARAMS), None)
    if stray is None:
        return
    instead = instead_of(stray, "a model")
    if stray in _OPTIONS:
        raise TypeError(f"{stray!r} belongs to the options: {instead}")
    if stray in _SETTINGS:
        raise TypeError(f"{stray!r} is a setting of the Client, for all of its calls: Client(..., {stray}=...)")
    if stray == "system":
        raise TypeError("'system' is a message: [anyllm.Message.system(...), anyllm.Message.user(...)]")
    if instead is not None:
        raise TypeError(f"a model has no parameter {stray!r}; write {instead}")
    hint = did_you_mean(stray, {*_PARAMS, *_SETTINGS})
    raise TypeError(f"a model has no parameter {stray!r}{hint}; what only one host knows goes into extra_body")


def _names(models: Sequence[Union[str, Target]]) -> Sequence[Union[str, Target]]:
    if isinstance(models, str):
        raise TypeError(f"fallback must be a list of models, as in [{models!r}], not a str")
    return models


def _home(
    model: Optional[str], provider: Union[str, Provider, None], api_key: ApiKey, base_url: Optional[str]
) -> Optional[Target]:
    if model is not None or provider is not None:
        return _target("" if model is None else model, provider, api_key, base_url)
    if api_key is not None or base_url is not None:
        raise TypeError(
            "whose api_key and base_url? Name a model or a provider: Client(provider='openai', api_key=...)"
        )
    return None


def _target(
    model: str,
    provider: Union[str, Provider, None] = None,
    api_key: ApiKey = None,
    base_url: Optional[str] = None,
) -> Target:
    if not isinstance(model, str):
        hint = "; a provider goes here: Client('gpt-4o-mini', provider=...)" if isinstance(model, Provider) else ""
        raise TypeError(f"model must be a str, as in 'openai/gpt-4o-mini', not {type(model).__name__}{hint}")
    host, bare = registry.route(model, provider)
    if isinstance(provider, Provider):
        return Target(host, bare, api_key, base_url)
    if api_key is not None or base_url is not None:
        return Target(registry.provider(host.name, api_key=api_key, base_url=base_url), bare, is_own=True)
    return Target(host, bare)


def _unpacked(messages: Messages) -> tuple[Any, dict[str, Any]]:
    """The messages, and what else is asked, of `CompletionParams` or of a dict in its shape."""
    if isinstance(messages, CompletionParams):
        given = {field.name: getattr(messages, field.name) for field in attrs.fields(CompletionParams)}
        params = {name: value for name, value in given.items() if value is not None}
    elif isinstance(messages, Mapping) and "messages" in messages:
        params = dict(messages)
    else:
        return messages, {}
    return params.pop("messages"), params


def _messages(messages: Any) -> Sequence[Any]:
    if isinstance(messages, str):
        return [Message.user(messages)]
    if isinstance(messages, Message) or (isinstance(messages, Mapping) and "role" in messages):
        return [messages]
    if isinstance(messages, Mapping):
        raise TypeError(
            "a dict is a message, with 'role' and 'content', or parameters, with 'messages'; this one has "
            + (", ".join(map(repr, messages)) or "nothing")
        )
    if not isinstance(messages, Iterable) or isinstance(messages, (bytes, type)):
        raise TypeError(
            "messages must be a list, as in [Message.user('Hello')], or a text, a Message or CompletionParams, "
            f"not {kind_of(messages)}"
        )
    return cast(Sequence[Any], messages)
