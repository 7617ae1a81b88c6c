"""
Providers' error responses, turned into `APIError`s.

Strategy: the class comes from the provider's code or type first, because those are made for programs; then from phrases
in the message, because many providers send status 400 for every error; then from the HTTP status. Codes are compared
without case and punctuation: providers write ``rate_limit_exceeded``, ``RateLimitError`` and ``rate_limited``.

Sources: https://platform.openai.com/docs/guides/error-codes, https://docs.mistral.ai/api,
https://openrouter.ai/docs/api-reference/errors, https://api-docs.deepseek.com/quick_start/error_codes,
https://platform.moonshot.ai/docs/api/chat, https://platform.minimax.io/docs/api-reference/errorcode
"""

from __future__ import annotations

import email.utils
import math
import re
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import urlsplit

from anyllm import errors
from anyllm.errors import APIError
from anyllm.types import _convert
from anyllm.wire._base import error_body
from anyllm.wire._base.error_body import ErrorDetails
from anyllm.wire._base.surrogate_joiner import mend, mend_all

K = TypeVar("K", bound=APIError)
_MAX_BODY_TEXT = 4096
_REQUEST_IDS = ("x-request-id", "request-id", "apim-request-id", "x-generation-id", "cf-ray")


def by_code(codes: Mapping[type[APIError], str]) -> dict[str, type[APIError]]:
    """The class of each code; *codes* has those of each class in one text, between spaces."""
    return {code: kind for kind, text in codes.items() for code in text.split()}


#: Codes and types with the same meaning at all providers, without case and punctuation.
_KINDS_BY_CODE = by_code(
    {
        errors.ContextLengthExceededError: "contextlengthexceeded contextlengthexceedederror contextwindowexceeded "
        "contextwindowexceedederror exceedcontextsizeerror modelcontextwindowexceeded",
        errors.ContentFilterError: "contentfilter contentfiltered contentfiltererror contentpolicyviolation "
        "contentpolicyviolationerror responsibleaipolicyviolation datainspectionfailed moderationblocked "
        "contentmoderationfailed",
        errors.ModelNotFoundError: "modelnotfound modelnotfounderror modelnotexist invalidmodel unknownmodel "
        "modelnotavailable deploymentnotfound invalidendpointormodelnotfound",
        errors.InsufficientFundsError: "insufficientquota insufficientbalance insufficientfunds insufficientcredits "
        "billinghardlimitreached billingnotactive billingerror paymentrequired accountoverdueerror arrearage "
        "exceededcurrentquotaerror",
        errors.AuthenticationError: "invalidapikey apikeyinvalid incorrectapikeyerror authenticationerror "
        "invalidauthenticationerror unauthenticated unauthorized autherror",
        errors.PermissionDeniedError: "permissiondenied permissiondeniederror permissionerror forbidden accessdenied",
        errors.RateLimitError: "ratelimit ratelimited ratelimiterror ratelimitexceeded ratelimitexceedederror "
        "ratelimitreachederror toomanyrequests toomanyrequestserror resourceexhausted throttled throttling "
        "throttlingexception throttlingratequota",
        errors.OverloadedError: "overloaded overloadederror engineoverloaded engineoverloadederror modeloverloaded "
        "serveroverloaded unavailable serviceunavailable serviceunavailableerror insufficientsystemresource "
        "capacityexceeded",
        errors.UnsupportedParameterError: "unsupportedparameter unsupportedvalue unknownparameter extraforbidden",
    }
)

#: Codes and types that are too broad to overrule a status; used if there is no status.
_BROAD_KINDS_BY_CODE = by_code(
    {
        errors.InvalidRequestError: "invalidrequesterror invalidrequest badrequest badrequesterror invalidargument "
        "invalidparameter validationerror unprocessableentity unprocessableentityerror notfounderror notfound "
        "toolusefailed",
        errors.ServerError: "servererror internalservererror internalerror internal apierror upstreamerror timeout "
        "timeouterror requesttimeout deadlineexceeded gatewaytimeout badgateway networkerror error "
        "malformedfunctioncall unexpectedtoolcall",
    }
)

#: MiniMax's codes at HTTP 200: https://platform.minimax.io/docs/api-reference/errorcode
_MINIMAX = by_code(
    {
        errors.RateLimitError: "1002",
        errors.AuthenticationError: "1004 2049",
        errors.InsufficientFundsError: "1008",
        errors.ContentFilterError: "1026 1027",
        errors.InvalidRequestError: "1039 2013",
    }
)

_KINDS_BY_STATUS: Mapping[int, type[APIError]] = {
    401: errors.AuthenticationError,
    402: errors.InsufficientFundsError,
    403: errors.PermissionDeniedError,
    408: errors.ServerError,
    429: errors.RateLimitError,
    503: errors.OverloadedError,
    529: errors.OverloadedError,
}

#: Phrases in messages, in this order: the class, the statuses at which they count (besides no status), the phrases. 500
#: is among them because old llama.cpp servers answer an overlong prompt with it.
_PHRASES: tuple[tuple[type[APIError], frozenset[int | None], re.Pattern[str]], ...] = tuple(
    (kind, frozenset((None, *statuses)), re.compile("|".join(phrases), re.IGNORECASE))
    for kind, statuses, phrases in (
        (
            errors.ContextLengthExceededError,
            (400, 413, 422, 500),
            (
                *(r"context (length|window)", r"maximum context", r"context size", r"(prompt|input) is too long"),
                *(r"maximum prompt length", r"reduce the length of", r"exceeds the maximum number of tokens"),
                *(r"exceeded model token limit", r"range of input length"),
            ),
        ),
        (
            errors.ContentFilterError,
            (400, 403, 404, 413, 422),
            (
                *(r"content (management )?policy", r"content.filter", r"safety system", r"inappropriate content"),
                *(r"violates? .{0,20}usage (guideline|polic)", r"flagged .{0,40}(moderation|unsafe|harmful)"),
            ),
        ),
        (
            errors.AuthenticationError,
            (400, 403),
            (
                r"(invalid|incorrect|wrong|missing|bad|no) (api|access)[ _-]?key",
                *(r"api[ _-]?key (is )?(not valid|invalid)", r"authentication fail", r"no auth credentials"),
            ),
        ),
        (
            errors.InsufficientFundsError,
            (400, 403, 429),
            (
                *(r"insufficient (account )?(balance|quota|funds|credit)", r"exceeded your current quota"),
                *(r"credit balance is too low", r"(out of|more) credits", r"account is (in arrears|overdue)"),
                r"please recharge",
            ),
        ),
        (
            errors.ModelNotFoundError,
            (400, 403, 404, 410, 422),
            (
                r"model\b.{0,120}?\b(does ?n[o']t exist|not found|not exist)",
                r"model\b.{0,120}?\bhas been (deprecated|decommissioned|removed)",
                *(r"not a valid model", r"(invalid|unknown|no such|not found the) model", r"no endpoints found for"),
            ),
        ),
        (
            errors.UnsupportedParameterError,
            (400, 404, 422),
            (
                r"(unsupported|unrecognized|unknown|unexpected)( \w+)? (parameter|argument|value|field|keyword)",
                *(r"does not support (the )?(parameter|argument)", r"not supported (with|by|for|on) th(is|e) model"),
                *(r"extra inputs are not permitted", r"extraneous key"),
            ),
        ),
        (errors.RateLimitError, (403,), (r"rate.?limit", r"too many requests")),
        (errors.OverloadedError, (500, 502, 504), (r"\boverloaded\b", r"\bat capacity\b")),
    )
)

_NAMED_PARAMETER = re.compile(
    r"(?:parameter|argument|value|field)s?(?: supplied)?:? [`'\"]?(\w[\w.\[\]]*[\w\]])|[`'\"](\w[\w.\[\]]*)[`'\"]",
    re.IGNORECASE,
)


def from_response(provider: str, status: int, headers: Mapping[str, str], body: bytes) -> APIError:
    """The error of an HTTP response with *status*."""
    fields = {key.lower(): value for key, value in headers.items()}
    decoded = _decode(body)
    details = error_body.read(decoded)
    if 300 <= status < 400:
        return APIError(_redirected(status, fields), provider=provider, status_code=status, body=_error_body(decoded))
    error = _build(provider, details, status, decoded, _phrase(status))
    error.request_id = next((fields[name] for name in _REQUEST_IDS if fields.get(name)), None) or details.request_id
    if (seconds := _retry_after(fields)) is not None:
        error.retry_after = seconds
    if status == HTTPStatus.CONFLICT:
        error.is_retryable = True  # the other request will end
    if (should_retry := fields.get("x-should-retry", "").strip().lower()) in ("true", "false"):
        error.is_retryable = should_retry == "true"
    return error


def as_kind(kind: type[K], error: APIError) -> K:
    """*error* as another class, with the same attributes."""
    return kind(
        error.message,
        provider=error.provider,
        status_code=error.status_code,
        code=error.code,
        type=error.type,
        param=error.param,
        request_id=error.request_id,
        retry_after=error.retry_after,
        body=error.body,
    )


def from_body(provider: str, body: Any) -> APIError:
    """
    The error in an event or a whole answer of an HTTP 200 response.

    The request was accepted, so an error of unknown kind may be temporary: it is retryable.
    """
    details = error_body.read(body)
    error = _build(provider, details, details.status, body, "the provider sent an error without a message")
    if type(error) is APIError:
        error.is_retryable = True
    return error


def _build(provider: str, details: ErrorDetails, status: int | None, body: Any, default_message: str) -> APIError:
    kind, param = _kind(details, status, body), details.param
    if kind is errors.UnsupportedParameterError and not param and (match := _NAMED_PARAMETER.search(details.message)):
        param = match[1] or match[2]
    return kind(
        details.message or default_message,
        provider=provider,
        status_code=status,
        code=details.code,
        type=details.type,
        param=param,
        request_id=details.request_id,
        retry_after=details.retry_after,
        body=_error_body(body),
    )


def _kind(details: ErrorDetails, status: int | None, body: Any) -> type[APIError]:
    codes = [re.sub(r"[\W_]", "", code).lower() for code in (details.code, details.type) if code]
    for code in codes:
        if code in _KINDS_BY_CODE:
            return _KINDS_BY_CODE[code]
    if isinstance(body, dict) and body.get("base_resp") and details.code in _MINIMAX:
        return _MINIMAX[details.code]
    for kind, statuses, phrase in _PHRASES:
        if status in statuses and phrase.search(details.message):
            return kind
    if status is None:
        return next((_BROAD_KINDS_BY_CODE[code] for code in codes if code in _BROAD_KINDS_BY_CODE), APIError)
    if status == HTTPStatus.NOT_FOUND and (
        details.param == "model" or re.search(r"\b(model|deployment)\b", details.message, re.IGNORECASE)
    ):
        return errors.ModelNotFoundError
    if status in _KINDS_BY_STATUS:
        return _KINDS_BY_STATUS[status]
    if status >= 500:
        return errors.ServerError
    if status < 400:
        return APIError
    # With "not supported", it is the parameter that the provider does not support, rather than its value.
    is_unsupported = details.param and "not supported" in details.message.lower()
    return errors.UnsupportedParameterError if is_unsupported else errors.InvalidRequestError


def _decode(body: bytes) -> Any:
    """The body as JSON, or as text; of a body of server-sent events, the data of the first."""
    text = body.decode("utf-8", "replace").lstrip("\ufeff").strip()
    if text.startswith(("data:", "event:")):
        text = next((line[5:] for line in text.splitlines() if line.startswith("data:")), text).strip()
    try:
        decoded = _convert.loads(text)
    except (ValueError, RecursionError):
        return text
    return decoded if isinstance(decoded, (dict, list, str)) else text


def _error_body(body: Any) -> Any:
    if isinstance(body, str):
        return mend(body)[:_MAX_BODY_TEXT]
    try:
        return mend_all(body)
    except RecursionError:
        return None


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Site is overloaded" if status == 529 else f"HTTP status {status}"


def _redirected(status: int, fields: Mapping[str, str]) -> str:
    """The message about a redirect; it names only the host, because the rest of the URL may be private."""
    try:
        host = urlsplit(fields.get("location", "")).netloc.rpartition("@")[2]
    except ValueError:
        host = ""
    where = f" to {host}" if host else ""
    return f"the provider redirects{where} ({_phrase(status)}), and redirects are not followed; check the base URL"


def _retry_after(fields: Mapping[str, str]) -> float | None:
    """
    Seconds to wait, from ``retry-after-ms`` or ``Retry-After``, which is seconds or a date.

    A date counts from the response's ``Date``, so that a wrong clock on either side does not matter.

    Source: RFC 9110, 10.2.3
    """
    milliseconds = _positive(fields.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = fields.get("retry-after", "").strip()
    seconds = _positive(value)
    if seconds is not None or not value:
        return seconds
    until, now = _timestamp(value), _timestamp(fields.get("date", ""))
    if until is None:
        return None
    return max(0.0, until - (time.time() if now is None else now))


def _positive(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _timestamp(date: str) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(date).timestamp()
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
