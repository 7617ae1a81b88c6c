"""The models of a client: its first model, its fallbacks, and other models that a call names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional, Union

import attrs

from anyllm.client._routing import Target
from anyllm.providers import registry
from anyllm.providers.provider import ApiKey, Provider


class ClientModels:
    """
    The models of a client, as targets. Args as in `Client`.

    Attributes:
        home: The target to which the client's key and server belong; its model is "" where only a provider is given.
            None where neither a model nor a provider is.
        targets: The first model and the fallbacks.

    Raises:
        TypeError: an argument has the wrong type, or belongs to no provider.
        UnsupportedProviderError: there is no such provider.
    """

    def __init__(
        self,
        model: Optional[str],
        provider: Union[str, Provider, None],
        api_key: ApiKey,
        base_url: Optional[str],
        fallback: Sequence[Union[str, Target]],
    ) -> None:
        self._has_provider = provider is not None
        if model is None and provider is None and (api_key is not None or base_url is not None):
            raise TypeError(
                "whose api_key and base_url? Name a model or a provider: Client(provider='openai', api_key=...)"
            )
        has_home = model is not None or provider is not None
        self.home = _target("" if model is None else model, provider, api_key, base_url) if has_home else None
        self._main = None if model is None else self.home
        if model is None and fallback:
            raise TypeError("fallback= comes after a model: Client('openai/gpt-4o-mini', fallback=[...])")
        if isinstance(fallback, str):
            raise TypeError(f"fallback must be a list of models, as in [{fallback!r}], not a str")
        others = [other if isinstance(other, Target) else _target(other) for other in fallback]
        self.targets = () if self._main is None else (self._main, *map(self._with_home, others))

    @property
    def main(self) -> Target:
        """The first model; TypeError where there is none."""
        if self._main is None:
            raise TypeError("which model? Client('openai/gpt-4o-mini'), or model='openai/gpt-4o-mini' in the call")
        return self._main

    @property
    def main_name(self) -> str:
        """The bare name of the first model, "" where there is none."""
        return "" if self._main is None else self._main.model

    def is_main(self, model: Any) -> bool:
        """Whether *model* names the first model, bare or with its provider."""
        main = self._main
        if main is None or model is None:
            return False
        return bool(model == main.name or (self._has_provider and model == main.model))

    def other(self, model: str) -> Target:
        """A model that a call names: bare where the client has a provider."""
        if self._has_provider and self.home is not None:
            return attrs.evolve(self.home, model=model)
        return self._with_home(_target(model))

    def _with_home(self, target: Target) -> Target:
        """*target*, with the client's key and server if it is at the same provider and has none of its own."""
        home = self.home
        is_shared = home is not None and target.provider.name == home.provider.name and not target.is_own
        return attrs.evolve(home, model=target.model) if home is not None and is_shared else target

    def close(self) -> None:
        """Close the idle connections of the providers that were made for these targets."""
        for target in (*self.targets, self.home):
            if target is not None and target.is_own:
                target.provider.close()


def _target(
    model: str,
    provider: Union[str, Provider, None] = None,
    api_key: ApiKey = None,
    base_url: Optional[str] = None,
) -> Target:
    if not isinstance(model, str):
        hint = "; a provider goes here: Client('gpt-4o-mini', provider=...)" if isinstance(model, Provider) else ""
        raise TypeError(f"model must be a str, as in 'openai/gpt-4o-mini', not {type(model).__name__}{hint}")
    resolved, bare = registry.route(model, provider)
    if isinstance(provider, Provider):
        return Target(resolved, bare, api_key, base_url)
    if api_key is not None or base_url is not None:
        return Target(registry.provider(resolved.name, api_key=api_key, base_url=base_url), bare, is_own=True)
    return Target(resolved, bare)
