"""Secrets are removed from errors and URLs."""

from __future__ import annotations

import pytest

from anyllm._transport.redaction import redact, redact_url, secrets_in
from anyllm.errors import APIError

SECRET = "sk-Secret0123456789"


def test_a_secret_is_removed_from_every_field_and_cause():
    deep = {SECRET: [f"a {SECRET} b", (SECRET, 1, None)], "bytes": SECRET.encode()}
    error = APIError(f"bad {SECRET}", code=SECRET, type=SECRET, param=SECRET, request_id=SECRET, body=deep)
    try:
        try:
            raise KeyError(SECRET)
        except KeyError as inner:
            raise ValueError(f"no {SECRET}", [SECRET]) from inner
    except ValueError as cause:
        cause.doc = SECRET  # type: ignore[attr-defined]
        error.__cause__ = cause
    assert redact(error, SECRET) is error
    assert SECRET not in f"{error!s} {error!r} {vars(error)} {error.args}"
    assert error.message == "bad [key]"
    assert error.body == {"[key]": ["a [key] b", ("[key]", 1, None)], "bytes": b"[key]"}
    cause = error.__cause__
    assert SECRET not in f"{cause!r} {vars(cause)} {cause.__cause__!r}"


def test_a_short_secret_is_no_secret():
    """Replacing "a" would spoil every message, and "local" names a provider."""
    for secret in ("", "a", "local", None):
        assert redact(APIError("a local error"), secret).message == "a local error"


def test_a_circle_of_causes_is_walked_once():
    one, two = APIError(SECRET), ValueError(SECRET)
    one.__cause__, two.__cause__ = two, one
    redact(one, SECRET)
    assert SECRET not in f"{one!r}{two!r}"


LONG_SECRET = "sk-proj-" + "0123456789abcdefghij" * 5


@pytest.mark.parametrize("length", [13, 40, 107])
def test_a_truncated_secret_is_removed(length: int):
    """Messages are truncated before they are redacted, and may still hold nearly all of a key."""
    message = f"Incorrect key: {LONG_SECRET[:length]}... and {LONG_SECRET[:length]}"
    error = redact(APIError(message, body=message.encode()), LONG_SECRET)
    assert LONG_SECRET[:13] not in str(error)
    assert str(error).count("[key]") == 2


def test_a_text_that_only_begins_like_a_secret_is_not_changed():
    assert redact(APIError("sk-proj- is how keys begin"), LONG_SECRET).message == "sk-proj- is how keys begin"


def test_every_secret_of_a_request_is_removed():
    url = "https://host/v1?api-version=2024-10-21&sig=in-the-query%2B&token=another-one"
    headers = {"Authorization": "Bearer the-bearer", "X-Api-Key": "header+key", "Content-Type": "application/json"}
    secrets = secrets_in("the-id:the-secret-half", headers, url)
    echoed = "the-bearer header+key header%2Bkey in-the-query+ another-one the-secret-half the-id:the-secret-half"
    message = redact(APIError(f"{echoed} 2024-10-21 application/json the-id"), *secrets).message
    assert message == "[key] [key] [key] [key] [key] [key] [key] 2024-10-21 application/json the-id"


def test_a_url_that_cannot_be_read_has_no_secrets():
    assert secrets_in(None, {}, "http://[") == ()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:password@host/v1?key=secret#fragment", "https://host/v1"),
        ("https://host:8080/v1", "https://host:8080/v1"),
        ("//user@host", "//host"),
        ("", ""),
    ],
)
def test_a_url_is_shown_without_user_query_and_fragment(url: str, shown: str):
    assert redact_url(url) == shown
