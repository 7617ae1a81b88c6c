"""The gateway's configuration, read from a TOML file: the server, the keys, the models."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional, Union

import attrs
from attrs.validators import optional

from anyllm._hints.arguments import check_keywords, one_of, positive_number, validator, whole_number
from anyllm._hints.extras import import_extra
from anyllm.gateway._client_keys import Keys
from anyllm.types import _convert

_UNSUPPORTED = ("refuse", "drop")

_seconds = validator(positive_number, "seconds (a number)")
_count = validator(whole_number)


def _names(value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not all(isinstance(name, str) for name in value):
        raise TypeError(f"must be a list of strings, as in [{value!r}]")
    return tuple(value)


def _origins(value: Any) -> tuple[str, ...]:
    """As browsers send them: without a path, in lower case."""
    return tuple(name.rstrip("/").lower() for name in _names(value))


def _hosts(value: Any) -> tuple[str, ...]:
    """Without a port, in lower case."""
    return tuple(re.sub(r":\d+$", "", name.strip().lower()) for name in _names(value))


def _host(value: Any) -> Any:
    return value.strip("[]") if isinstance(value, str) else value


def _port(name: str, value: Any) -> None:
    if whole_number(name, value, 0) > 65535:
        raise ValueError(f"{name} must be at most 65535: {value}")


@check_keywords
@attrs.define(frozen=True, kw_only=True)
class ServerConfig:
    """
    The ``[server]`` table: how a gateway serves.

    Attributes:
        host: The address to listen at. Any address but loopback needs keys.
        port: 0 for a free one.
        workers: The number of processes, on systems that can fork: one Python uses one core. The limits below apply to
            each process.
        max_body_bytes: The largest request body.
        max_streams: The most concurrent answers; more requests are rejected with a ``Retry-After``.
        max_streams_per_key: The same for each key; None for no such limit.
        max_seconds: The longest that an answer may take.
        first_content_timeout: Seconds to wait for the first content. Then the response begins, and an error can no
            longer have a status of its own.
        keep_alive: Seconds of silence in a stream before something is sent that clients ignore.
        unsupported: What to do with a parameter that the model's provider does not support: "refuse" the request, or
            "drop" the parameter and name it in the header ``x-anyllm-dropped``.
        only_listed: Whether clients can ask only for the models under ``[models]``.
        list_providers: Whether model lists include the models of every provider whose key is set.
        page: Whether there is a chat page, at ``/``.
        origins: Other origins, as "https://example.org", whose pages may send requests from a browser.
        hosts: Further host names under which a gateway without keys accepts requests.
    """

    host: str = attrs.field(default="127.0.0.1", converter=_host)
    port: int = attrs.field(default=8080, validator=validator(_port))
    workers: int = attrs.field(default=1, validator=_count)
    max_body_bytes: int = attrs.field(default=32 * 1024 * 1024, validator=_count)
    max_streams: int = attrs.field(default=200, validator=_count)
    max_streams_per_key: Optional[int] = attrs.field(default=None, validator=optional(_count))
    max_seconds: float = attrs.field(default=3600.0, validator=_seconds)
    first_content_timeout: float = attrs.field(default=20.0, validator=_seconds)
    keep_alive: float = attrs.field(default=5.0, validator=_seconds)
    unsupported: str = attrs.field(default="refuse", validator=validator(one_of, _UNSUPPORTED))
    only_listed: bool = False
    list_providers: bool = True
    page: bool = True
    origins: tuple[str, ...] = attrs.field(default=(), converter=_origins)
    hosts: tuple[str, ...] = attrs.field(default=(), converter=_hosts)


@check_keywords
@attrs.define(frozen=True, kw_only=True)
class ModelEntry:
    """
    An entry of ``[models]``: a model under a name that the configuration gives it.

    Attributes:
        model: "provider/model"; if the entry's name ends in "*", a "*" here stands for the same text.
        fallback: Models to ask, in order, if those before fail without any content: model strings, or other names under
            ``[models]``, which stand for that entry's model, server and key.
        base_url: The server of *model*, if not its provider's own.
        api_key_env: The environment variable that holds its key, if not one of the provider's own.
        params: Parameters for requests that do not set them.
        options: Options of calls, as in `StreamingOptions`.
        rate_limit: ``{requests_per_minute = ..., tokens_per_minute = ...}``; calls beyond it wait.
        max_streams: The most concurrent answers; more calls wait.
        context_length: The longest prompt and answer together, in tokens; part of the model's metadata.
        hidden: Whether model lists omit it.
    """

    model: str
    fallback: tuple[str, ...] = attrs.field(default=(), converter=_names)
    base_url: Optional[str] = None
    api_key_env: Optional[str] = None
    params: Mapping[str, Any] = attrs.field(factory=dict)
    options: Mapping[str, Any] = attrs.field(factory=dict)
    rate_limit: Optional[Mapping[str, Any]] = None
    max_streams: Optional[int] = attrs.field(default=None, validator=optional(_count))
    context_length: Optional[int] = attrs.field(default=None, validator=optional(_count))
    hidden: bool = False


#: The former name of `ServerConfig.first_content_timeout`, in a configuration.
_FORMER_TIMEOUT = "patience"


def _server(value: Any) -> ServerConfig:
    if isinstance(value, Mapping) and _FORMER_TIMEOUT in value and "first_content_timeout" not in value:
        value = {"first_content_timeout" if name == _FORMER_TIMEOUT else name: each for name, each in value.items()}
    return _convert.structure(ServerConfig, value)


def _keys(value: Any) -> Mapping[str, str]:
    Keys(_table("keys", value))  # raises if one is wrong
    return dict(value)


def _models(value: Any) -> Mapping[str, ModelEntry]:
    return {name: _entry(name, entry) for name, entry in _table("models", value).items()}


def _table(name: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} must be a table, not {type(value).__name__}")
    return value


def _entry(name: str, value: Any) -> ModelEntry:
    if "*" in name[:-1]:
        raise ValueError(f"models.{name}: only the last character of a name can be a *")
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
    A gateway's configuration.

    Attributes:
        server: The ``[server]`` table.
        keys: Hashes of the clients' keys, by their owners' names. A gateway without keys listens on loopback only.
        models: Model strings or `ModelEntry`s, by name. A name that ends in "*" matches every name that begins with the
            text before it.

    Raises:
        TypeError, ValueError: a setting is wrong; the message names it.
    """

    server: ServerConfig = attrs.field(factory=ServerConfig, converter=_server)
    keys: Mapping[str, str] = attrs.field(factory=dict, converter=_keys, repr=False)
    models: Mapping[str, ModelEntry] = attrs.field(factory=dict, converter=_models)


def load(path: Union[str, Path]) -> Config:
    """
    Read a configuration from a TOML file.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file is not TOML, or a setting is wrong; the message names it.
        ModuleNotFoundError: tomli is not installed; Python 3.9 and 3.10 need it.
    """
    name = "tomllib" if sys.version_info >= (3, 11) else "tomli"
    toml = import_extra(name, "serve", "before Python 3.11, reading TOML needs tomli")
    try:
        return _convert.structure(Config, toml.loads(Path(path).read_text("utf-8-sig")))
    except (TypeError, ValueError) as exc:
        raise ValueError(f"{path}: {exc}") from exc
