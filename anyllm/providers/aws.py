"""
AWS Bedrock: URLs and the signing of requests.

A Bedrock API key is a bearer token. Otherwise botocore signs requests (Signature Version 4), with the caller's key pair
or with credentials from botocore's own chain: variables, profiles, roles.

Sources: https://docs.aws.amazon.com/general/latest/gr/bedrock.html (endpoints),
https://docs.aws.amazon.com/bedrock/latest/userguide/api-keys-use.html,
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult

from anyllm._framing.aws_eventstream import event_stream_parser
from anyllm._hints.extras import import_extra
from anyllm.errors import AnyLLMError, AuthenticationError, InvalidRequestError
from anyllm.providers.table.row import UnsignedRequest, bearer
from anyllm.providers.url_env import first_set, is_own_host, split_url

__all__ = ["BASE_URL", "ENDPOINT_VARS", "KEY_VAR", "resolve_url", "sign"]

#: The row's base URL; `resolve_url` fills in the region.
BASE_URL = "https://bedrock-runtime.{region}.amazonaws.com"
#: The variable for a Bedrock API key.
KEY_VAR = "AWS_BEARER_TOKEN_BEDROCK"
#: Variables for another endpoint, as of AWS's own clients.
ENDPOINT_VARS = ("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "AWS_ENDPOINT_URL")

_REGION_VARS = ("AWS_REGION", "AWS_DEFAULT_REGION")
_DEFAULT_REGION = "us-east-1"
_SERVICE = "bedrock"

#: Bedrock's own hosts; not every host of AWS is one.
_HOST = re.compile(
    r"(?:vpce-[\w-]+\.)?bedrock(?:-runtime|-mantle)?(?:-fips)?\.(?P<region>[a-z]{2,5}(?:-[a-z]+)+-\d+)\."
    r"(?:(?:vpce\.)?amazonaws\.com(?:\.cn)?|api\.(?:aws|amazonwebservices\.com\.cn))"
)


def resolve_url(base_url: str, model: str) -> str:
    """
    The base URL with the region in place of "{region}".

    The region is AWS_REGION or AWS_DEFAULT_REGION, or us-east-1.
    """
    if "{region}" not in base_url:
        return base_url
    region = _region()
    if region.startswith("cn-") and base_url == BASE_URL:
        base_url += ".cn"
    return base_url.replace("{region}", region)


def sign(request: UnsignedRequest) -> Mapping[str, str]:
    """
    The headers that sign *request*; none if the caller set them, or no credentials belong to its host.

    The key is a Bedrock API key, or "ID:SECRET", or "ID:SECRET:SESSION". Without one, requests to Bedrock's own hosts
    and to the endpoint that the environment names are signed with the environment's credentials; other hosts never
    receive them. Finding credentials may take time: a role needs requests.

    Raises:
        AuthenticationError: there are no credentials, or the pair is incomplete, or botocore failed.
        InvalidRequestError: botocore is needed and not installed.
    """
    if any(name.lower() == "authorization" for name in request.headers):
        return {}
    url = split_url(request.url)
    if url is None:
        raise InvalidRequestError("the base URL cannot be read; check base_url", param="base_url")
    if url.path.endswith("-stream"):
        event_stream_parser()  # raises if it is missing, before an answer costs money
    key = request.key
    if not key:
        if not is_own_host(url, _HOST, ENDPOINT_VARS):
            return {}
        key = first_set(KEY_VAR)
    if key and ":" not in key:
        return bearer(key)
    return _signature(request, _credentials(key) if key else _environment_credentials(), _region_of(url))


def _signature(request: UnsignedRequest, credentials: Any, region: str) -> Mapping[str, str]:
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest

    aws_request = AWSRequest(request.method, request.url, headers=_headers_to_sign(request.headers), data=request.body)
    unsigned = set(aws_request.headers.keys())
    SigV4Auth(credentials, _SERVICE, region).add_auth(aws_request)
    return {name: value for name, value in aws_request.headers.items() if name not in unsigned}


def _headers_to_sign(headers: Mapping[str, str]) -> dict[str, str]:
    """Only the headers that must be signed: proxies may change the others."""
    added = ("x-amz-date", "x-amz-security-token")  # by the signature
    return {
        name: value
        for name, value in headers.items()
        if name.lower() in ("content-type", "host") or (name.lower().startswith("x-amz-") and name.lower() not in added)
    }


# -- credentials -------------------------------------------------------------------------------------------------------


def _credentials(key: str) -> Any:
    """The credentials in a key "ID:SECRET" or "ID:SECRET:SESSION"."""
    key_id, secret, *session = (part.strip() for part in key.split(":", 2))
    if not key_id or not secret:
        raise AuthenticationError("api_key must be a Bedrock API key, ID:SECRET, or ID:SECRET:SESSION")
    return _botocore("credentials").Credentials(key_id, secret, session[0] if session and session[0] else None)


def _environment_credentials() -> Any:
    """The credentials from botocore's chain, renewed if they have expired."""
    try:
        credentials = _chain(tuple(sorted((name, value) for name, value in os.environ.items() if "AWS" in name)))
        return credentials.get_frozen_credentials()
    except AnyLLMError:
        raise
    except Exception as exc:  # botocore runs programs, reads files and sends requests
        raise AuthenticationError(f"AWS credentials are not available: {exc}") from exc


@functools.lru_cache(maxsize=4)
def _chain(_environment: tuple[tuple[str, str], ...]) -> Any:
    """This environment's credentials, which renew themselves; finding them is slow. A failure is not cached."""
    credentials = _botocore("session").Session().get_credentials()
    if credentials is None:
        raise AuthenticationError(
            f"no AWS credentials: set {KEY_VAR}, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or pass api_key="
        )
    return credentials


def _botocore(module: str) -> Any:
    purpose = "requests to AWS are signed with botocore"
    return import_extra(f"botocore.{module}", "bedrock", purpose, InvalidRequestError)


# -- regions -----------------------------------------------------------------------------------------------------------


def _region_of(url: SplitResult) -> str:
    """The region in the host's name; else the environment's."""
    host = _HOST.fullmatch(url.hostname or "")
    return host["region"] if host else _region()


def _region() -> str:
    return first_set(*_REGION_VARS) or _DEFAULT_REGION
