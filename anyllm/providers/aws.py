"""
Where AWS Bedrock is, and how a request to it is signed.

A Bedrock API key is a bearer token. Everything else is a Signature Version 4, by botocore, with a key pair that was
given or with what botocore's own chain finds: variables, profiles, roles.

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
from anyllm._hints.extras import pip_install
from anyllm.errors import AnyLLMError, AuthenticationError, InvalidRequestError
from anyllm.providers.row import Signable, bearer
from anyllm.providers.url_env import is_own, parts_of, variable

__all__ = ["BASE_URL", "ENDPOINT_VARS", "KEY_VAR", "locate", "sign"]

#: The row's base URL; `locate` fills in the region.
BASE_URL = "https://bedrock-runtime.{region}.amazonaws.com"
#: Holds a Bedrock API key.
KEY_VAR = "AWS_BEARER_TOKEN_BEDROCK"
#: May hold another endpoint, as for AWS's own clients.
ENDPOINT_VARS = ("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "AWS_ENDPOINT_URL")

_REGION_VARS = ("AWS_REGION", "AWS_DEFAULT_REGION")
_DEFAULT_REGION = "us-east-1"
_SERVICE = "bedrock"

#: Bedrock's own hosts, and nobody else's at AWS.
_HOST = re.compile(
    r"(?:vpce-[\w-]+\.)?bedrock(?:-runtime|-mantle)?(?:-fips)?\.(?P<region>[a-z]{2,5}(?:-[a-z]+)+-\d+)\."
    r"(?:(?:vpce\.)?amazonaws\.com(?:\.cn)?|api\.(?:aws|amazonwebservices\.com\.cn))"
)


def locate(base_url: str, model: str) -> str:
    """
    The base URL, with the region where it has a place for one.

    The region is AWS_REGION or AWS_DEFAULT_REGION, or us-east-1.
    """
    if "{region}" not in base_url:
        return base_url
    region = _region()
    if region.startswith("cn-") and base_url == BASE_URL:
        base_url += ".cn"
    return base_url.replace("{region}", region)


def sign(request: Signable) -> Mapping[str, str]:
    """
    The headers that sign *request*; none where the caller's own headers do, or where no key belongs to that host.

    The key is a Bedrock API key, or a pair "ID:SECRET" or "ID:SECRET:SESSION". Without one, requests to Bedrock's own
    hosts, and to the endpoint that the environment names, are signed with what the environment has; no other host is
    given anything of it. Finding credentials may take time: a role is asked for over the network.

    Raises:
        AuthenticationError: there are no credentials, or no whole pair, or botocore cannot get them.
        InvalidRequestError: botocore is needed, and not installed.
    """
    if any(name.lower() == "authorization" for name in request.headers):
        return {}
    place = parts_of(request.url)
    if place is None:
        raise InvalidRequestError("the base URL cannot be read; check base_url", param="base_url")
    if place.path.endswith("-stream"):
        event_stream_parser()  # no answer is paid for that cannot be read
    key = request.key
    if not key:
        if not is_own(place, _HOST, ENDPOINT_VARS):
            return {}
        key = variable(KEY_VAR)
    if key and ":" not in key:
        return bearer(key)
    return _signature(request, _pair(key) if key else _found(), _region_of(place))


def _signature(request: Signable, credentials: Any, region: str) -> Mapping[str, str]:
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest

    signed = AWSRequest(request.method, request.url, headers=_headers_to_sign(request.headers), data=request.body)
    before = set(signed.headers.keys())
    SigV4Auth(credentials, _SERVICE, region).add_auth(signed)
    return {name: value for name, value in signed.headers.items() if name not in before}


def _headers_to_sign(headers: Mapping[str, str]) -> dict[str, str]:
    """What must be signed, and no more: proxies on the way may change the rest."""
    dates = ("x-amz-date", "x-amz-security-token")  # the signature's own
    return {
        name: value
        for name, value in headers.items()
        if name.lower() in ("content-type", "host") or (name.lower().startswith("x-amz-") and name.lower() not in dates)
    }


# -- credentials -------------------------------------------------------------------------------------------------------


def _pair(key: str) -> Any:
    """The credentials that a key "ID:SECRET" or "ID:SECRET:SESSION" is."""
    key_id, secret, *session = (part.strip() for part in key.split(":", 2))
    if not key_id or not secret:
        raise AuthenticationError("api_key must be a Bedrock API key, ID:SECRET, or ID:SECRET:SESSION")
    try:
        from botocore.credentials import Credentials
    except ImportError as exc:
        raise _missing() from exc
    return Credentials(key_id, secret, session[0] if session and session[0] else None)


def _found() -> Any:
    """What botocore's chain finds; fresh, where it has to be renewed."""
    try:
        credentials = _chain(tuple(sorted((name, value) for name, value in os.environ.items() if "AWS" in name)))
        return credentials.get_frozen_credentials()
    except AnyLLMError:
        raise
    except Exception as exc:  # botocore runs programs, reads files and asks other hosts
        raise AuthenticationError(f"AWS credentials cannot be had: {exc}") from exc


@functools.lru_cache(maxsize=4)
def _chain(_environment: tuple[tuple[str, str], ...]) -> Any:
    """
    The credentials of this environment, kept because they renew themselves, and because asking takes long.

    Raises:
        AuthenticationError: there are none; asked again the next time.
    """
    try:
        from botocore.session import Session
    except ImportError as exc:
        raise _missing() from exc
    credentials = Session().get_credentials()
    if credentials is None:
        raise AuthenticationError(
            f"no AWS credentials: set {KEY_VAR}, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or pass api_key="
        )
    return credentials


def _missing() -> InvalidRequestError:
    return InvalidRequestError(f"requests to AWS are signed with botocore: {pip_install('bedrock')}")


# -- places ------------------------------------------------------------------------------------------------------------


def _region_of(place: SplitResult) -> str:
    """The region that the host names; else the environment's."""
    host = _HOST.fullmatch(place.hostname or "")
    return host["region"] if host else _region()


def _region() -> str:
    return variable(*_REGION_VARS) or _DEFAULT_REGION
