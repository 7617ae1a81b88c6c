"""
Signatures of requests to Tencent Cloud: TC3-HMAC-SHA256.

Source: https://cloud.tencent.com/document/api/1729/101843
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Optional
from urllib.parse import SplitResult, urlsplit

from anyllm.errors import AuthenticationError, MissingAPIKeyError
from anyllm.providers.table.row import UnsignedRequest
from anyllm.providers.url_env import first_set

__all__ = ["sign", "sign_at"]

_ALGORITHM = "TC3-HMAC-SHA256"
_SIGNED = "content-type;host"
_TERMINATOR = "tc3_request"
_PORTS = {"http": 80, "https": 443}


def sign(request: UnsignedRequest) -> Mapping[str, str]:
    """
    The headers that sign *request* now.

    Its key is "SECRET_ID:SECRET_KEY", or with a third part, the token of a temporary pair. The region is
    TENCENT_REGION, which Hunyuan does not need.

    Raises:
        MissingAPIKeyError: there is no key.
        AuthenticationError: the key is not a pair.
    """
    headers = dict(sign_at(request, int(time.time())))
    region = first_set("TENCENT_REGION")
    if region and "x-tc-region" not in {name.lower() for name in request.headers}:
        headers["X-TC-Region"] = region
    return headers


def sign_at(request: UnsignedRequest, timestamp: int, *, service: str = "hunyuan") -> Mapping[str, str]:
    """
    The headers that sign *request* at *timestamp*, in Unix seconds; raises as `sign` does.

    The signed text contains the service, so a signature for one service is not valid for another.
    """
    identity, secret, token = _pair(request.key)
    date = datetime.fromtimestamp(timestamp, timezone.utc).strftime("%Y-%m-%d")
    scope = f"{date}/{service}/{_TERMINATOR}"
    to_sign = "\n".join((_ALGORITHM, str(timestamp), scope, _digest(_canonical(request).encode())))
    key = f"TC3{secret}".encode()
    for part in (date, service, _TERMINATOR):
        key = _hmac(key, part)
    signature = _hmac(key, to_sign).hex()
    authorization = f"{_ALGORITHM} Credential={identity}/{scope}, SignedHeaders={_SIGNED}, Signature={signature}"
    headers = {"Authorization": authorization, "X-TC-Timestamp": str(timestamp)}
    return {**headers, "X-TC-Token": token} if token else headers


def _canonical(request: UnsignedRequest) -> str:
    """The canonical request, which is signed. The query of a POST is always empty in it."""
    fields = {name.lower(): value for name, value in request.headers.items()}
    url = urlsplit(request.url)
    kind, host = (value.strip().lower() for value in (fields.get("content-type", ""), fields.get("host") or _host(url)))
    query = url.query if request.method == "GET" else ""
    headers = f"content-type:{kind}\nhost:{host}\n"
    return "\n".join((request.method, url.path or "/", query, headers, _SIGNED, _digest(request.body)))


def _host(url: SplitResult) -> str:
    """The value of the Host header: the port is omitted if it is the scheme's default."""
    name = url.netloc.rpartition("@")[2]
    port = url.port
    return name[: -len(f":{port}")] if port is not None and port == _PORTS.get(url.scheme) else name


def _pair(key: Optional[str]) -> tuple[str, str, str]:
    if not key:
        raise MissingAPIKeyError(
            "no API key: set TENCENT_SECRET_ID and TENCENT_SECRET_KEY, or pass api_key='SECRET_ID:SECRET_KEY'",
            env_var="TENCENT_SECRET_ID and TENCENT_SECRET_KEY",
        )
    parts = [part.strip() for part in key.split(":", 2)]
    if len(parts) < 2 or not all(re.fullmatch(r"[!-~]+", part) for part in parts):
        raise AuthenticationError(
            "the API key must be a pair, 'SECRET_ID:SECRET_KEY', as the console of Tencent Cloud gives it"
        )
    return parts[0], parts[1], parts[2] if len(parts) > 2 else ""


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
