"""Errors of Bedrock's two APIs: the status, the name in a header or in the body, and the message make the class."""

from __future__ import annotations

import json
from typing import Any

import pytest

from anyllm import errors
from anyllm.providers import bedrock_invoke_families
from anyllm.wire.bedrock_converse.dialect import BedrockConverseDialect

each_dialect = pytest.mark.parametrize(
    "dialect",
    [BedrockConverseDialect(), bedrock_invoke_families.dialect("bedrock_invoke")],
    ids=lambda dialect: dialect.provider,
)


@each_dialect
@pytest.mark.parametrize(
    ("status", "name", "message", "kind"),
    [
        (400, "ValidationException", "The provided model identifier is invalid.", "ModelNotFoundError"),
        (400, "ValidationException", "Input is too long for requested model.", "ContextLengthExceededError"),
        (400, "ValidationException", "messages: roles must alternate", "InvalidRequestError"),
        (400, "ValidationException", "Malformed: extraneous key [x] is not permitted", "UnsupportedParameterError"),
        (400, "ServiceQuotaExceededException", "quota", "InvalidRequestError"),
        (403, "AccessDeniedException", "You don't have access to the model", "PermissionDeniedError"),
        (403, "UnrecognizedClientException", "The security token is invalid.", "AuthenticationError"),
        (403, "ExpiredTokenException", "expired", "AuthenticationError"),
        (403, "InvalidSignatureException", "Signature expired", "AuthenticationError"),
        (404, "ResourceNotFoundException", "Could not resolve the foundation model", "ModelNotFoundError"),
        (404, "ResourceNotFoundException", "This model version has ended its life.", "ModelNotFoundError"),
        (408, "ModelTimeoutException", "slow", "ServerError"),
        (424, "ModelErrorException", "broken", "ServerError"),
        (429, "ThrottlingException", "Too many tokens", "RateLimitError"),
        (429, "ModelNotReadyException", "not ready", "OverloadedError"),
        (500, "InternalServerException", "", "ServerError"),
        (503, "ServiceUnavailableException", "down", "OverloadedError"),
        (403, "", "Missing Authentication Token", "PermissionDeniedError"),
    ],
)
def test_status_and_name_make_the_error(dialect: Any, status: int, name: str, message: str, kind: str) -> None:
    headers = {"x-amzn-RequestId": "req-1", "Content-Type": "application/json"}
    if name:
        headers["x-amzn-ErrorType"] = f"{name}:http://internal.amazon.com/coral/com.amazon.bedrock/"
    error = dialect.error(status, headers, json.dumps({"message": message}).encode())
    assert type(error) is getattr(errors, kind)
    assert (error.status_code, error.code, error.request_id) == (status, name or None, "req-1")
    assert message in str(error)
    assert error.provider == dialect.provider


@each_dialect
def test_name_in_the_body_counts_too(dialect: Any) -> None:
    body = b'{"__type": "com.amazon.coral.service#ExpiredTokenException", "message": "x"}'
    assert type(dialect.error(403, {}, body)) is errors.AuthenticationError
