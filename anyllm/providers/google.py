"""
Where Google Cloud's Vertex AI is, and how a request to it is authorized.

An access token is a bearer token, an API key has a header of its own. Where neither is given, google-auth finds what
Google calls the application's default credentials: a file that GOOGLE_APPLICATION_CREDENTIALS names, what `gcloud auth
application-default login` left, or the machine's own service account; and it fetches a fresh token when one is needed.

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
from anyllm.providers.row import Signable, bearer
from anyllm.providers.url_env import is_own, parts_of, variable

__all__ = ["BASE_URL", "ENDPOINT_VARS", "KEY_VAR", "authorize", "locate"]

#: The rows' base URL; `locate` fills in the project and the location, and with the location the host.
BASE_URL = "https://aiplatform.googleapis.com/v1/projects/{project}/locations/{location}"
#: Holds an access token, as `gcloud auth print-access-token` prints one.
KEY_VAR = "VERTEX_ACCESS_TOKEN"
#: May hold the whole of another base URL, up to the location.
ENDPOINT_VARS = ("VERTEX_BASE_URL",)

_PROJECT_VARS = ("GOOGLE_CLOUD_PROJECT", "ANTHROPIC_VERTEX_PROJECT_ID", "GCLOUD_PROJECT")
_LOCATION_VARS = ("GOOGLE_CLOUD_LOCATION", "CLOUD_ML_REGION", "GOOGLE_CLOUD_REGION")
_EVERYWHERE = "global"
#: Locations that are several regions; their hosts have names of another form.
_MULTI_REGIONS = ("us", "eu")
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"

#: Vertex AI's own hosts, and nobody else's at Google.
_HOST = re.compile(r"(?:[a-z]+-[a-z]+\d+-)?aiplatform(?:\.[a-z]+\.rep)?(?:\.mtls)?\.googleapis\.com")
#: How Google's API keys begin; access tokens begin otherwise.
_API_KEY = re.compile(r"AIza|AQ\.")

_refreshing = threading.Lock()  # guards a credential's token; held while google-auth asks for a new one


def locate(base_url: str, model: str) -> str:
    """
    The base URL, with the project and the location where it has places for them.

    The project is GOOGLE_CLOUD_PROJECT, or that of the default credentials; the location is GOOGLE_CLOUD_LOCATION, or
    "global".

    Raises:
        InvalidRequestError: nobody says which project.
    """
    if "{project}" not in base_url:
        return base_url
    location = variable(*_LOCATION_VARS) or _EVERYWHERE
    project = variable(*_PROJECT_VARS) or _default_project()
    if not project:
        raise InvalidRequestError(
            f"say which project of Google Cloud: set {_PROJECT_VARS[0]} or pass base_url=", param="base_url"
        )
    if base_url == BASE_URL:
        base_url = base_url.replace("aiplatform.googleapis.com", _host(location))
    return base_url.replace("{project}", project).replace("{location}", location)


def authorize(request: Signable) -> Mapping[str, str]:
    """
    The headers that authorize *request*; none where the caller's own do, or where no credentials belong to that host.

    Fetching a token may take time.

    Raises:
        AuthenticationError: there are no credentials, or google-auth cannot get a token with them.
        InvalidRequestError: google-auth is needed, and not installed.
    """
    if any(name.lower() == "authorization" for name in request.headers):
        return {}
    key = request.key
    if not key:
        place = parts_of(request.url)
        if place is None or not is_own(place, _HOST, ENDPOINT_VARS):
            return {}
        key = variable(KEY_VAR)
    if key and _API_KEY.match(key):
        return {"x-goog-api-key": key}
    return bearer(key or _token())


def _host(location: str) -> str:
    if location == _EVERYWHERE:
        return "aiplatform.googleapis.com"
    if location in _MULTI_REGIONS:
        return f"aiplatform.{location}.rep.googleapis.com"
    return f"{location}-aiplatform.googleapis.com"


# -- default credentials -----------------------------------------------------------------------------------------------


def _default_project() -> Optional[str]:
    """The project of the default credentials; None where there is none, or google-auth is not installed."""
    try:
        return _found()[1]
    except (AuthenticationError, InvalidRequestError):
        return None


def _token() -> str:
    credentials, _ = _found()
    try:
        with _refreshing:
            if not credentials.valid:
                from google.auth.transport.requests import Request

                credentials.refresh(Request())
            return str(credentials.token)
    except Exception as exc:  # google-auth asks other hosts, and runs programs
        raise AuthenticationError(f"no access token of Google Cloud can be had: {exc}") from exc


def _found() -> tuple[Any, Optional[str]]:
    """The default credentials of this environment and their project."""
    return _default(tuple(sorted((name, value) for name, value in os.environ.items() if "GOOGLE" in name)))


@functools.lru_cache(maxsize=4)
def _default(_environment: tuple[tuple[str, str], ...]) -> tuple[Any, Optional[str]]:
    """
    The same, kept because they keep their token, and because asking takes long.

    Raises:
        AuthenticationError: there are none; asked again the next time.
        InvalidRequestError: google-auth is not installed.
    """
    try:
        import google.auth
    except ImportError as exc:
        raise InvalidRequestError(
            f"credentials of Google Cloud are found with google-auth: {pip_install('vertex')}, "
            f"or set {KEY_VAR}, or pass api_key="
        ) from exc
    try:
        credentials, project = google.auth.default(scopes=[_SCOPE])
    except Exception as exc:  # DefaultCredentialsError, and what reading files raises
        raise AuthenticationError(
            f"no credentials of Google Cloud: run `gcloud auth application-default login`, set {KEY_VAR}, or pass "
            "api_key="
        ) from exc
    return credentials, project


def _renew_lock() -> None:
    global _refreshing
    _refreshing = threading.Lock()  # the old one may be held by a thread that is not here, or stop every greenlet


monkey_patch.on_patch(_renew_lock)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)
