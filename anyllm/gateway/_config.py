"""What a gateway is told: where it listens, who may come in, which models go by which name. Read from a TOML file."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional, Union

import attrs

from anyllm._hints.arguments import check_keywords, whole_number
from anyllm._hints.extras import pip_install
from anyllm.gateway._keys import Keys
from anyllm.types import _convert

__all__ = ["Config", "ModelEntry", "Server", "load"]

_UNSUPPORTED = ("refuse", "drop")


def _positive(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{attribute.name} must be seconds (a number), not {type(value).__name__}")
    if not value > 0:
        raise ValueError(f"{attribute.name} must be positive: {value!r}")


def _counted(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value is not None:
        whole_number(attribute.name, value)


def _names(value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not all(isinstance(name, str) for name in value):
        raise TypeError(f"must be a list of texts, as in [{value!r}]")
    return tuple(value)


def _origins(value: Any) -> tuple[str, ...]:
    """As browsers send them: without a path, in lower case."""
    return tuple(name.rstrip("/").lower() for name in _names(value))


def _hosts(value: Any) -> tuple[str, ...]:
    """Without a port, in lower case."""
    return tuple(re.sub(r":\d+$", "", name.strip().lower()) for name in _names(value))


def _host(value: Any) -> Any:
    return value.strip("[]") if isinstance(value, str) else value


def _port(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if whole_number(attribute.name, value, 0) > 65535:
        raise ValueError(f"{attribute.name} must be at most 65535: {value}")


def _unsupported(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value not in _UNSUPPORTED:
        raise ValueError(f"{attribute.name} must be one of {', '.join(_UNSUPPORTED)}, not {value!r}")


@check_keywords
@attrs.define(frozen=True, kw_only=True)
class Server:
    """
    How a gateway serves; the ``[server]`` table.

    Attributes:
        host: The address to listen at. Any but loopback needs keys.
        port: 0 for a free one.
        workers: How many processes answer, where the system can fork: one Python answers on one core. The limits below
            hold for each of them.
        max_body_bytes: The largest request.
        max_streams: How many answers may be on their way at once; more are refused, to be tried again.
        max_streams_per_key: The same for each key; None for no limit of its own.
        max_seconds: The longest that an answer may take.
        patience: Seconds to wait for the first content before an answer begins without it, and can no longer fail with
            a status.
        keep_alive: Seconds of silence after which something is sent that clients pass over.
        unsupported: What becomes of a parameter that a model's host has no words for: "refuse" the request, or "drop"
            it, which the header ``x-anyllm-dropped`` then says.
        only_listed: Whether only the names under ``[models]`` can be asked for.
        list_providers: Whether lists of models hold those of every provider whose key is set, too.
        page: Whether there is a page to chat on, at ``/``.
        origins: Pages of other origins, as "https://example.org", that may call from a browser.
        hosts: Names under which the gateway is reached, beside its address and localhost, where it has no keys.
    """

    host: str = attrs.field(default="127.0.0.1", converter=_host)
    port: int = attrs.field(default=8080, validator=_port)
    workers: int = attrs.field(default=1, validator=_counted)
    max_body_bytes: int = attrs.field(default=32 * 1024 * 1024, validator=_counted)
    max_streams: int = attrs.field(default=200, validator=_counted)
    max_streams_per_key: Optional[int] = attrs.field(default=None, validator=_counted)
    max_seconds: float = attrs.field(default=3600.0, validator=_positive)
    patience: float = attrs.field(default=20.0, validator=_positive)
    keep_alive: float = attrs.field(default=5.0, validator=_positive)
    unsupported: str = attrs.field(default="refuse", validator=_unsupported)
    only_listed: bool = False
    list_providers: bool = True
    page: bool = True
    origins: tuple[str, ...] = attrs.field(default=(), converter=_origins)
    hosts: tuple[str, ...] = attrs.field(default=(), converter=_hosts)


@check_keywords
@attrs.define(frozen=True, kw_only=True)
class ModelEntry:
    """
    A model under a name of the gateway's own; an entry of ``[models]``.

    Attributes:
        model: "provider/model"; where the name ends in "*", a "*" in it stands for the same text.
        fallback: Models that are asked in turn where the ones before fail without a content: model strings, or other
            names under ``[models]``, of which the model, its server and its key count.
        base_url: The server of *model*, if not its provider's own.
        api_key_env: The environment variable that holds its key, if not the provider's own.
        params: Parameters for each request that has not its own.
        options: How calls behave, as `StreamingOptions` has it.
        rate_limit: ``{requests_per_minute = ..., tokens_per_minute = ...}``.
        max_streams: How many answers of it may be on their way at once; more wait.
        context_length: The longest prompt and answer together, in tokens, for clients that ask.
        hidden: Whether lists leave it out.
    """

    model: str
    fallback: tuple[str, ...] = attrs.field(default=(), converter=_names)
    base_url: Optional[str] = None
    api_key_env: Optional[str] = None
    params: Mapping[str, Any] = attrs.field(factory=dict)
    options: Mapping[str, Any] = attrs.field(factory=dict)
    rate_limit: Optional[Mapping[str, Any]] = None
    max_streams: Optional[int] = attrs.field(default=None, validator=_counted)
    context_length: Optional[int] = attrs.field(default=None, validator=_counted)
    hidden: bool = False


def _server(value: Any) -> Server:
    return _convert.structure(Server, value)


def _keys(value: Any) -> Mapping[str, str]:
    Keys(_table("keys", value))  # what is wrong with them is said here
    return dict(value)


def _models(value: Any) -> Mapping[str, ModelEntry]:
    return {name: _entry(name, entry) for name, entry in _table("models", value).items()}


def _table(name: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} must be a table, not {type(value).__name__}")
    return value


def _entry(name: str, value: Any) -> ModelEntry:
    if "*" in name[:-1]:
        raise ValueError(f"models.{name}: only the end of a name can be a *")
    if isinstance(value, str):
        return ModelEntry(model=value)
    try:
        return _convert.structure(ModelEntry, value)
    except (TypeError, ValueError) as exc:
        raise type(exc)(f"models.{name}: {exc}") from exc


@check_keywords
@attrs.define(frozen=True, kw_only=True)
class Config:
    """
    All of it.

    Attributes:
        server: How it serves.
        keys: For each name the hash of its key; none at all lets everybody in, on loopback only.
        models: For each name what is behind it: a model string, or a `ModelEntry`. A name that ends in "*" stands for
            all that begin so.

    Raises:
        TypeError, ValueError: something is wrong; the message names it.
    """

    server: Server = attrs.field(factory=Server, converter=_server)
    keys: Mapping[str, str] = attrs.field(factory=dict, converter=_keys, repr=False)
    models: Mapping[str, ModelEntry] = attrs.field(factory=dict, converter=_models)


def load(path: Union[str, Path]) -> Config:
    """
    The configuration in a TOML file.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no TOML, or something in it is wrong; the message names it.
        ModuleNotFoundError: tomli is not installed, which Python 3.9 and 3.10 need.
    """
    toml = _toml()
    try:
        return _convert.structure(Config, toml.loads(Path(path).read_text("utf-8-sig")))
    except (TypeError, ValueError) as exc:
        raise ValueError(f"{path}: {exc}") from exc


def _toml() -> Any:
    for name in ("tomllib", "tomli"):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError:
            pass
    raise ModuleNotFoundError(f"before Python 3.11, a TOML file needs tomli: {pip_install('serve')}")
