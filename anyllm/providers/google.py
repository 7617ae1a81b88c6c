"""
Google Cloud's Vertex AI: URLs and authorization.

An access token is a bearer token; an API key has its own header. Without either, google-auth finds the application
default credentials (the file that GOOGLE_APPLICATION_CREDENTIALS names, those of `gcloud auth application-default
login`, or the machine's service account) and fetches a new token when one is needed.

Sources: https://cloud.google.com/vertex-ai/generative-ai/docs/learn/locations,
https://cloud.google.com/docs/authentication/application-default-credentials
"""

from __future__ import annotations

import functools
import os
import re
import threading
from collections.abc import Mapping
from typing import Any, Optional

from anyllm._concurrency import monkey_patch
from anyllm._hints.extras import pip_install
from anyllm.errors import AuthenticationError, InvalidRequestError
from anyllm.providers.table.row import UnsignedRequest, bearer
from anyllm.providers.url_env import first_set, is_own_host, split_url

__all__ = ["BASE_URL", "ENDPOINT_VARS", "KEY_VAR", "authorize", "resolve_url"]

#: The rows' base URL; `resolve_url` fills in the project and the location, and changes the host by the location.
BASE_URL = "https://aiplatform.googleapis.com/v1/projects/{project}/locations/{location}"
#: The variable for an access token, as `gcloud auth print-access-token` prints one.
KEY_VAR = "VERTEX_ACCESS_TOKEN"
#: Variables for another base URL, up to the location.
ENDPOINT_VARS = ("VERTEX_BASE_URL",)

_PROJECT_VARS = ("GOOGLE_CLOUD_PROJECT", "ANTHROPIC_VERTEX_PROJECT_ID", "GCLOUD_PROJECT")
_LOCATION_VARS = ("GOOGLE_CLOUD_LOCATION", "CLOUD_ML_REGION", "GOOGLE_CLOUD_REGION")
_GLOBAL = "global"
#: Locations of several regions; their hosts have names of another form.
_MULTI_REGIONS = ("us", "eu")
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"

#: Vertex AI's own hosts; not every host of Google is one.
_HOST = re.compile(r"(?:[a-z]+-[a-z]+\d+-)?aiplatform(?:\.[a-z]+\.rep)?(?:\.mtls)?\.googleapis\.com")
#: The beginning of API keys; access tokens begin otherwise.
_API_KEY = re.compile(r"AIza|AQ\.")

_refresh_lock = threading.Lock()  # guards the credentials' token; held while google-auth fetches a new one


def resolve_url(base_url: str, model: str) -> str:
    """
    The base URL with the project and the location in place of "{project}" and "{location}".

    The project is GOOGLE_CLOUD_PROJECT, or that of the default credentials; the location is GOOGLE_CLOUD_LOCATION, or
    "global".

    Raises:
        InvalidRequestError: there is no project.
    """
    if "{project}" not in base_url:
        return base_url
    location = first_set(*_LOCATION_VARS) or _GLOBAL
    project = first_set(*_PROJECT_VARS) or _default_project()
    if not project:
        raise InvalidRequestError(
            f"the project of Google Cloud is missing: set {_PROJECT_VARS[0]} or pass base_url=", param="base_url"
        )
    if base_url == BASE_URL:
        base_url = base_url.replace("aiplatform.googleapis.com", _host(location))
    return base_url.replace("{project}", project).replace("{location}", location)


def authorize(request: UnsignedRequest) -> Mapping[str, str]:
    """
    The headers that authorize *request*; none if the caller set them, or no credentials belong to its host.

    Fetching a token may take time.

    Raises:
        AuthenticationError: there are no credentials, or google-auth gets no token with them.
        InvalidRequestError: google-auth is needed and not installed.
    """
    if any(name.lower() == "authorization" for name in request.headers):
        return {}
    key = request.key
    if not key:
        url = split_url(request.url)
        if url is None or not is_own_host(url, _HOST, ENDPOINT_VARS):
            return {}
        key = first_set(KEY_VAR)
    if key and _API_KEY.match(key):
        return {"x-goog-api-key": key}
    return bearer(key or _token())


def _host(location: str) -> str:
    if location == _GLOBAL:
        return "aiplatform.googleapis.com"
    if location in _MULTI_REGIONS:
        return f"aiplatform.{location}.rep.googleapis.com"
    return f"{location}-aiplatform.googleapis.com"


# -- default credentials -----------------------------------------------------------------------------------------------


def _default_project() -> Optional[str]:
    """The project of the default credentials; None if there is none, or google-auth is not installed."""
    try:
        return _environment_credentials()[1]
    except (AuthenticationError, InvalidRequestError):
        return None


def _token() -> str:
    credentials, _ = _environment_credentials()
    try:
        with _refresh_lock:
            if not credentials.valid:
                from google.auth.transport.requests import Request

                credentials.refresh(Request())
            return str(credentials.token)
    except Exception as exc:  # google-auth sends requests and runs programs
        raise AuthenticationError(f"no access token of Google Cloud is available: {exc}") from exc


def _environment_credentials() -> tuple[Any, Optional[str]]:
    """The default credentials of this environment and their project."""
    return _default(tuple(sorted((name, value) for name, value in os.environ.items() if "GOOGLE" in name)))


@functools.lru_cache(maxsize=4)
def _default(_environment: tuple[tuple[str, str], ...]) -> tuple[Any, Optional[str]]:
    """The same, cached: they store their token, and finding them is slow. A failure is not cached."""
    try:
        import google.auth
    except ImportError as exc:
        raise InvalidRequestError(
            f"credentials of Google Cloud are found with google-auth: {pip_install('vertex')}, "
            f"or set {KEY_VAR}, or pass api_key="
        ) from exc
    try:
        credentials, project = google.auth.default(scopes=[_SCOPE])
    except Exception as exc:  # DefaultCredentialsError, and errors of reading files
        raise AuthenticationError(
            f"no credentials of Google Cloud: run `gcloud auth application-default login`, set {KEY_VAR}, or pass "
            "api_key="
        ) from exc
    return credentials, project


def _renew_lock() -> None:
    global _refresh_lock
    _refresh_lock = threading.Lock()  # a thread of the parent may hold the old one, or it would block every greenlet


monkey_patch.on_patch(_renew_lock)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)
