"""What every wire format promises of its requests, and of the errors that refuse them."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from json_mutations import places, replaced
from profiles import USER, Profile, each_profile

from anyllm import errors
from anyllm.errors import APIError, InvalidRequestError, UnsupportedParameterError
from anyllm.types import CompletionParams, EmbeddingParams, Message
from anyllm.wire._base.protocols import Embedder, Lister, Request


def request_of(profile: Profile, *, stream: bool = False, **fields: Any) -> Request:
    params = CompletionParams(**{"model": f"x/{profile.model}", "messages": [USER], **fields})
    request: Request = profile.dialect(provider="p").request(params, model=profile.model, stream=stream)
    return request


def body_of(profile: Profile, *, stream: bool = False, **fields: Any) -> Any:
    return json.loads(request_of(profile, stream=stream, **fields).body)


@each_profile
@pytest.mark.parametrize("stream", [False, True])
def test_smallest_request_has_its_address_and_nothing_that_was_not_given(profile: Profile, stream: bool) -> None:
    request = request_of(profile, stream=stream)
    assert (request.method, request.path) == ("POST", profile.paths[stream])
    assert json.loads(request.body) == profile.request[stream]
    more = {"Accept": profile.accept, **profile.headers} if stream else profile.headers
    expected = {"Content-Type": "application/json", "Accept": "application/json", **more}
    assert request.headers == {**expected, **(profile.stream_headers if stream else {})}
    assert b"null" not in request.body


@each_profile
def test_extra_body_wins_and_is_not_changed(profile: Profile) -> None:
    """Over what was given, and over what the format itself writes."""
    key = next(iter(profile.request[0]))
    extra = {key: "mine", "x": {"y": [1]}, "z": None}
    body = body_of(profile, extra_body=extra)
    assert body == {**profile.request[0], "x": {"y": [1]}, key: "mine", "z": None}
    request = request_of(profile, extra_body=extra)
    extra["x"]["y"].append(2)  # type: ignore[index]
    assert json.loads(request.body)["x"] == {"y": [1]}, "a request is fixed when it is made"


@each_profile
def test_extra_headers_win_in_any_spelling(profile: Profile) -> None:
    own = {**profile.headers, **profile.stream_headers}
    others = {name.lower(): "mine" for name in own}
    headers = request_of(profile, stream=True, extra_headers={"accept": "x/y", "X-Title": "t", **others}).headers
    assert headers == {"Content-Type": "application/json", "accept": "x/y", "X-Title": "t", **others}


@each_profile
@pytest.mark.parametrize("headers", [{"X": "a\r\nEvil: 1"}, {"X": "a\nb"}, {"X\n": "a"}, {"X": 7}])
def test_headers_that_are_none_are_refused(profile: Profile, headers: Any) -> None:
    with pytest.raises(InvalidRequestError, match="header"):
        request_of(profile, extra_headers=headers)


@each_profile
def test_not_a_number_is_named(profile: Profile) -> None:
    with pytest.raises(InvalidRequestError, match=r"[tT]emperature is not a finite number") as caught:
        request_of(profile, temperature=math.nan)
    assert type(caught.value) is InvalidRequestError
    assert (caught.value.param or "").lower().endswith("temperature")


@each_profile
@pytest.mark.parametrize(
    ("value", "words"),
    [
        (math.nan, r"x\.y\[1\] is not a finite number"),
        (-math.inf, r"x\.y\[1\] is not a finite number"),
        (object(), "x cannot be written as JSON"),
        ({(1, 2): 3}, "cannot be written as JSON"),
    ],
)
def test_values_that_json_lacks_are_named(profile: Profile, value: Any, words: str) -> None:
    with pytest.raises(InvalidRequestError, match=words) as caught:
        request_of(profile, extra_body={"x": {"y": [0, value]}})
    assert (caught.value.provider, caught.value.status_code) == ("p", None)


@each_profile
def test_body_that_holds_itself_is_refused(profile: Profile) -> None:
    loop: dict[str, Any] = {}
    loop["loop"] = loop
    with pytest.raises(InvalidRequestError, match="nested too deeply"):
        request_of(profile, extra_body=loop)


@each_profile
def test_halves_of_characters_become_text(profile: Profile) -> None:
    body = request_of(profile, messages=[Message.user("cut \ud83d and split \ud83d\ude00")]).body.decode()
    assert "cut \ufffd and split \U0001f600" in body or r"cut \ufffd and split \ud83d\ude00" in body


@each_profile
@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"response_format": {"type": "grammar"}}, "response_format"),
        ({"reasoning_effort": "enormous"}, "reasoning_effort"),
        ({"stream_options": {"chunks": 1}}, "stream_options"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "sometimes"}, "tool_choice"),
    ],
)
def test_what_a_format_has_no_words_for_is_refused_by_name(profile: Profile, fields: Any, param: str) -> None:
    if param in profile.passes_on.split():
        request_of(profile, stream=True, **fields)
        return
    with pytest.raises(UnsupportedParameterError) as caught:
        request_of(profile, stream=True, **fields)
    assert (caught.value.provider, caught.value.param) == ("p", param)


@each_profile
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("role", Message("narrator", "Once")),
        ("tool_call_id", Message("tool", "22")),
        ("content", Message.user([{"type": "hologram"}])),
    ],
)
def test_messages_that_cannot_be_sent_are_refused(profile: Profile, name: str, message: Message) -> None:
    if name in profile.passes_on.split():
        request_of(profile, messages=[USER, message])
        return
    with pytest.raises(InvalidRequestError) as caught:
        request_of(profile, messages=[USER, message])
    assert caught.value.param in ("messages", "hologram")


# -- errors ------------------------------------------------------------------------------------------------------------

STATUSES = {
    400: "InvalidRequestError",
    401: "AuthenticationError",
    402: "InsufficientFundsError",
    403: "PermissionDeniedError",
    413: "InvalidRequestError",
    422: "InvalidRequestError",
    429: "RateLimitError",
    500: "ServerError",
    502: "ServerError",
    503: "OverloadedError",
    504: "ServerError",
    529: "OverloadedError",
}


@each_profile
@pytest.mark.parametrize("status", STATUSES)
def test_status_makes_the_error_that_says_why(profile: Profile, status: int) -> None:
    body = json.dumps(profile.refusal("What went wrong")).encode()
    headers = {"Retry-After": "3", profile.request_id_header: "r"}
    error = profile.dialect(provider="p").error(status, headers, body)
    assert type(error) is getattr(errors, STATUSES[status])
    assert (error.status_code, error.provider, error.retry_after, error.request_id) == (status, "p", 3.0, "r")
    assert "What went wrong" in str(error)
    assert "What went wrong" in json.dumps(error.body)
    assert error.is_retryable == (status == 429 or status >= 500)


@each_profile
@pytest.mark.parametrize("body", [b"", b"<html><title>503 Busy</title></html>", b"[]", b"7", b"\xff", b'{"error": 7}'])
def test_error_of_any_body_is_an_error(profile: Profile, body: bytes) -> None:
    error = profile.dialect(provider="p").error(503, {profile.request_id_header: "r2"}, body)
    assert type(error) is errors.OverloadedError
    assert error.request_id == "r2"
    assert "<" not in str(error)


@each_profile
@pytest.mark.parametrize("odd", [None, 7, [], {}, [None]])
def test_error_of_an_odd_body_is_that_of_its_status(profile: Profile, odd: Any) -> None:
    refusal = profile.refusal("no")
    for place in places(refusal):
        error = profile.dialect(provider="p").error(503, {}, json.dumps(replaced(refusal, place, odd)).encode())
        assert type(error) is errors.OverloadedError


@each_profile
def test_error_in_the_place_of_an_answer_is_raised(profile: Profile) -> None:
    body = json.dumps(profile.refusal("What went wrong")).encode()
    dialect = profile.dialect(provider="p")
    for read in (dialect.response, getattr(dialect, "embeddings", None), getattr(dialect, "models", None)):
        if read is not None:
            with pytest.raises(APIError, match="What went wrong") as caught:
                read(body)
            assert caught.value.provider == "p"
            assert caught.value.body == json.loads(body)


# -- beside chat -------------------------------------------------------------------------------------------------------


@each_profile
def test_dialect_says_what_it_does_beside_chat(profile: Profile) -> None:
    dialect = profile.dialect(provider="p")
    assert isinstance(dialect, Lister) == ("models" in profile.also)
    assert isinstance(dialect, Embedder) == ("embeddings" in profile.also)


@each_profile
@pytest.mark.parametrize("body", [b"", b"{}", b"[7]", b"7", b'{"data": 1, "models": 3, "embeddings": 5}'])
def test_what_is_no_list_of_models_or_vectors_is_malformed(profile: Profile, body: bytes) -> None:
    for name in profile.also:
        with pytest.raises(errors.MalformedStreamError) as caught:
            getattr(profile.dialect(provider="p"), name)(body)
        assert caught.value.provider == "p"


@each_profile
def test_models_and_vectors_are_requests_of_their_own(profile: Profile) -> None:
    dialect = profile.dialect(provider="p")
    if "models" in profile.also:
        request = dialect.models_request()
        assert (request.method, request.body) == ("GET", b"")
    if "embeddings" in profile.also:
        params = EmbeddingParams("e", ["one", "two"], extra_headers={"X-A": "1"}, extra_body={"x": 1})
        request = dialect.embedding_request(params, model="e")
        assert request.method == "POST"
        assert request.headers["X-A"] == "1"
        assert b'"one"' in request.body
        assert b'"x"' in request.body
