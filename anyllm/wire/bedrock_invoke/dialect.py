"""
AWS Bedrock's InvokeModel, which speaks to each model in its maker's own format; Converse is one format for all.

Strategy: the formats are those of other dialects, and no dialect knows another. So this one is given them, one for
each family of models, by the layer above. Of a request, the model's id says the family; its dialect writes the body,
and what stands in the path here is taken out. An answer is unwrapped, and its first event says whose it is.

Sources: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModel.html,
https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModelWithResponseStream.html,
https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import attrs

from anyllm.errors import APIError
from anyllm.types import ChatCompletion, CompletionParams, _convert
from anyllm.wire._base import bedrock_errors
from anyllm.wire._base.decode_json import no_answer, whole_json
from anyllm.wire._base.dialect import FormatSupport, Request
from anyllm.wire._base.encode_json import headers_in, in_bytes, unsupported
from anyllm.wire.bedrock_invoke.decoder import InvokeDecoder
from anyllm.wire.bedrock_invoke.families import (
    Family,
    family_of,
    is_chat,
    is_cohere_chat,
    is_messages,
    no_family,
)
from anyllm.wire.bedrock_invoke.nova import nova
from anyllm.wire.bedrock_invoke.reasoning_tags import TaggedReasoning
from anyllm.wire.bedrock_invoke.text_completion import PlainText, is_plain
from anyllm.wire.bedrock_invoke.usage import usage_of

__all__ = [
    "BedrockInvokeDialect",
    "Family",
    "PlainText",
    "TaggedReasoning",
    "is_chat",
    "is_cohere_chat",
    "is_messages",
    "is_plain",
    "nova",
]

_STREAM = "application/vnd.amazon.eventstream"
#: What other hosts want in the body: the path says it here, and usage comes with every stream.
_SAID_BY_THE_PATH = ("model", "stream", "stream_options")


@attrs.define(frozen=True, kw_only=True)
class BedrockInvokeDialect:
    """
    The dialect.

    Attributes:
        families: Who reads what; an answer is the first one's that knows its beginning.
        provider: Stands in every chunk and error, as it must in those of the families' dialects.
    """

    families: tuple[Family, ...]
    provider: str = "bedrock_invoke"

    @property
    def support(self) -> FormatSupport:
        """What one of the families has words for; what only another has is refused when it is asked for."""
        every = [family.dialect.support for family in self.families if family.makers]
        return FormatSupport(
            formats=_all_of(support.formats for support in every),
            media=_all_of(support.media for support in every),
            refused=tuple(
                name
                for name in _all_of(support.refused for support in every)
                if all(name in support.refused for support in every)
            ),
        )

    def request(self, params: CompletionParams, *, model: str, stream: bool) -> Request:
        """
        The request for *params*; *model* is an id, an inference profile whose name is one, or the ARN of either.

        Raises:
            UnsupportedParameterError: nobody writes that model's format here, or it lacks what a parameter asks for.
            InvalidRequestError: the parameters cannot be sent at all.
        """
        family = self._asked(model)
        for name in params.stream_options or ():
            if name != "include_usage":
                raise unsupported(
                    "stream_options", f"does not support the parameter stream_options.{name}", self.provider
                )
        theirs = family.dialect.request(params, model=model, stream=stream)
        extra = params.extra_body or {}
        headers = {"Content-Type": "application/json", "Accept": _STREAM if stream else "application/json"}
        return Request(
            "POST",
            f"/model/{quote(model, safe='')}/{'invoke-with-response-stream' if stream else 'invoke'}",
            headers_in(params.extra_headers, headers, self.provider),
            self._body(theirs.body, family, extra),
            {name: self._body(body, family, extra) for name, body in theirs.fallbacks.items()},
        )

    def decoder(self) -> InvokeDecoder:
        """A fresh decoder for one streamed response."""
        return InvokeDecoder(self.families, provider=self.provider)

    def response(self, body: bytes) -> ChatCompletion:
        """
        A whole response.

        Raises:
            APIError: the body is the provider's error.
            MalformedStreamError: the body cannot be read, or is in a format that nobody reads here.
        """
        answer = whole_json(body, self.provider)
        if not isinstance(answer, dict):
            raise no_answer(answer, "answer", self.provider)
        family = family_of(answer, self.families)
        if family is None:
            raise no_family(answer, self.provider)
        completion = family.dialect.response(body)
        completion.usage = family.usage_of(answer) or completion.usage or usage_of(answer)
        return completion

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> APIError:
        """The error that an HTTP status, its headers and its body say."""
        return bedrock_errors.from_response(self.provider, status, headers, body)

    # -- the parts of a request --------------------------------------------------------------------------

    def _asked(self, model: str) -> Family:
        """The family that *model* is asked in."""
        names = _names(model)
        for family in self.families:
            if any(name.startswith(family.makers) for name in names):
                return family
        makers = ", ".join(f"{maker}*" for family in self.families for maker in family.makers)
        raise unsupported(
            "model",
            f"InvokeModel wants the model's own format, which is written here for {makers}, and not for {model}: write "
            f"bedrock/{model}, which is asked by Converse, one format for all models",
            self.provider,
        )

    def _body(self, theirs: bytes, family: Family, extra: Mapping[str, Any]) -> bytes:
        """The body of another host's request, as this one wants it; what the caller added stays."""
        body = {
            key: value for key, value in _convert.loads(theirs).items() if key not in _SAID_BY_THE_PATH or key in extra
        }
        return in_bytes(family.body_of(body, self.provider), self.provider)


def _names(model: str) -> tuple[str, ...]:
    """What an id may begin with: "us.anthropic.claude" with the region and without it; of an ARN, its last part."""
    name = model.rpartition("/")[2]
    return name, name.partition(".")[2]


def _all_of(lists: Any) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for names in lists for name in names))
