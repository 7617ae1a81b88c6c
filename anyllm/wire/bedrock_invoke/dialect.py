"""
AWS Bedrock's InvokeModel, which has a format for each maker of models; Converse has one format for all.

Strategy: the formats are those of other dialects, and dialects do not import each other. So the layer above passes
them in, one for each family of models. The model's id selects the family of a request; the family's dialect writes the
body, from which the fields that are in InvokeModel's path are removed. An answer is unwrapped, and its first event
selects the family.

Sources: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModel.html,
https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModelWithResponseStream.html,
https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import attrs

from anyllm.types import ChatCompletion, CompletionParams, _convert
from anyllm.wire._base import bedrock_errors
from anyllm.wire._base.base_dialect import BaseDialect
from anyllm.wire._base.decode_json import no_answer, whole_json
from anyllm.wire._base.encode_json import unsupported
from anyllm.wire._base.format_support import FormatSupport, refuse_stream_options
from anyllm.wire._base.protocols import Request
from anyllm.wire.bedrock_invoke.decoder import InvokeDecoder
from anyllm.wire.bedrock_invoke.families import (
    Family,
    family_of,
    is_anthropic_messages,
    is_cohere_chat,
    is_openai_chat,
    unknown_format,
)
from anyllm.wire.bedrock_invoke.nova import nova
from anyllm.wire.bedrock_invoke.reasoning_tags import split_choice
from anyllm.wire.bedrock_invoke.text_completion import TextCompletionDialect, is_text_completion
from anyllm.wire.bedrock_invoke.usage import invocation_usage

__all__ = [
    "BedrockInvokeDialect",
    "Family",
    "TextCompletionDialect",
    "is_anthropic_messages",
    "is_cohere_chat",
    "is_openai_chat",
    "is_text_completion",
    "nova",
]

#: Fields that InvokeModel does not have in the body: the path contains them, and every stream has usage.
_NOT_IN_BODY = ("model", "stream", "stream_options")


@attrs.define(frozen=True, kw_only=True)
class BedrockInvokeDialect(BaseDialect):
    """
    The wire format of InvokeModel.

    Attributes:
        families: The formats, in the order in which an answer is matched with them.
        provider: The provider's name, in every chunk and error; the families' dialects must have the same.
    """

    families: tuple[Family, ...]
    provider: str = "bedrock_invoke"

    _read_error = staticmethod(bedrock_errors.from_response)
    _stream_type = "application/vnd.amazon.eventstream"

    @property
    def support(self) -> FormatSupport:
        """The parameters that at least one family supports; the family of a request refuses those that it does not."""
        every = [family.dialect.support for family in self.families if family.model_prefixes]
        return FormatSupport(
            formats=_merged(support.formats for support in every),
            media=_merged(support.media for support in every),
            refused=tuple(
                name
                for name in _merged(support.refused for support in every)
                if all(name in support.refused for support in every)
            ),
        )

    def request(self, params: CompletionParams, *, model: str, stream: bool) -> Request:
        """
        The request for *params*; *model* is an id, an inference profile named after one, or an ARN of either.

        Raises:
            UnsupportedParameterError: no family writes that model's format, or it does not support a parameter.
            InvalidRequestError: the parameters cannot be sent at all.
        """
        family = self._family_for(model)
        refuse_stream_options(params.stream_options, self.provider)
        inner = family.dialect.request(params, model=model, stream=stream)
        extra = params.extra_body or {}
        fallbacks = {name: self._body(body, family, extra) for name, body in inner.fallbacks.items()}
        path = f"/model/{quote(model, safe='')}/{'invoke-with-response-stream' if stream else 'invoke'}"
        body = self._body(inner.body, family, extra)
        return self._post(path, body, params.extra_headers, stream=stream, fallbacks=fallbacks)

    def decoder(self) -> InvokeDecoder:  # type: ignore[override]  # whole answers are read by the families' dialects
        """A fresh decoder for one streamed response."""
        return InvokeDecoder(self.families, provider=self.provider)

    def response(self, body: bytes) -> ChatCompletion:
        """
        A whole response.

        Raises:
            APIError: the body is the provider's error.
            MalformedStreamError: the body is malformed, or of an unknown format.
        """
        answer = whole_json(body, self.provider)
        if not isinstance(answer, dict):
            raise no_answer(answer, "answer", self.provider)
        family = family_of(answer, self.families)
        if family is None:
            raise unknown_format(answer, self.provider)
        completion = family.dialect.response(body)
        if family.splits_reasoning:
            completion.choices = tuple(map(split_choice, completion.choices))
        completion.usage = family.read_usage(answer) or completion.usage or invocation_usage(answer)
        return completion

    # -- the parts of a request --------------------------------------------------------------------------

    def _family_for(self, model: str) -> Family:
        """The family that writes requests for *model*."""
        names = _model_names(model)
        for family in self.families:
            if any(name.startswith(family.model_prefixes) for name in names):
                return family
        prefixes = ", ".join(f"{prefix}*" for family in self.families for prefix in family.model_prefixes)
        raise unsupported(
            "model",
            f"InvokeModel requires the model's own format, which is supported for {prefixes}, not for {model}: use "
            f"bedrock/{model}, which goes through Converse, one format for all models",
            self.provider,
        )

    def _body(self, inner: bytes, family: Family, extra: Mapping[str, Any]) -> dict[str, Any]:
        """The body of a family's request as InvokeModel requires it; the caller's *extra* fields stay."""
        body = {key: value for key, value in _convert.loads(inner).items() if key not in _NOT_IN_BODY or key in extra}
        return family.convert_body(body, self.provider)


def _model_names(model: str) -> tuple[str, ...]:
    """The id in *model*, which may be an ARN, with and without its first part, which may be a region ("us.")."""
    name = model.rpartition("/")[2]
    return name, name.partition(".")[2]


def _merged(lists: Any) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for names in lists for name in names))
