"""
What the clouds of Alibaba and Tencent call their errors: ``Category.Detail``.

Their codes say more than their statuses: Tencent answers with 200 whatever went wrong, and Alibaba with 400 when an
account is in arrears.

Sources: https://www.alibabacloud.com/help/en/model-studio/error-code,
https://cloud.tencent.com/document/api/1729/101843, https://cloud.tencent.com/document/api/1729/105705
"""

from __future__ import annotations

from anyllm.errors import (
    APIError,
    AuthenticationError,
    ContentFilterError,
    InsufficientFundsError,
    InvalidRequestError,
    ModelNotFoundError,
    OverloadedError,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
)
from anyllm.wire._base import api_errors

__all__ = ["by_code"]

#: Whole codes and their categories, in lower case.
_KINDS: dict[str, type[APIError]] = {
    **dict.fromkeys(("authfailure",), AuthenticationError),
    **dict.fromkeys(
        (
            *("unauthorizedoperation", "accessdenied", "model.accessdenied", "workspace.accessdenied"),
            *("failedoperation.servicenotactivated", "failedoperation.servicestop", "failedoperation.userunautherror"),
            "resourceunavailable.notexist",
        ),
        PermissionDeniedError,
    ),
    **dict.fromkeys(
        (
            *("throttling", "limitexceeded", "requestlimitexceeded"),
            "failedoperation.engineserverlimitexceeded",
        ),
        RateLimitError,
    ),
    **dict.fromkeys(
        (
            *("arrearage", "prepaidbilloverdue", "postpaidbilloverdue", "allocationquota"),
            *("resourceinsufficient", "resourceunavailable", "failedoperation.servicestoparrears"),
            *("failedoperation.resourcepackexhausted", "failedoperation.freeresourcepackexhausted"),
        ),
        InsufficientFundsError,
    ),
    **dict.fromkeys(
        (
            *("operationdenied.textillegaldetected", "operationdenied.imageillegaldetected"),
            *("datainspectionfailed", "data_inspection_failed", "failedoperation.generateimagefailed"),
        ),
        ContentFilterError,
    ),
    **dict.fromkeys(("invalidparametervalue.model", "modelnotfound"), ModelNotFoundError),
    **dict.fromkeys(("modelunavailable", "serviceunavailable"), OverloadedError),
    **dict.fromkeys(
        (
            *("invalidparameter", "invalidparametervalue", "missingparameter", "unsupportedoperation"),
            *("invalidrequest", "invalidaction", "nosuchversion", "requestsizelimitexceeded", "badrequest"),
            *("invalidurl", "unsupportedprotocol", "unsupportedregion", "resourcenotfound", "operationdenied"),
        ),
        InvalidRequestError,
    ),
    **dict.fromkeys(
        (
            *("internalerror", "requesttimeout", "systemerror", "modelservicefailed", "modelservingerror"),
            *("failedoperation.enginerequesttimeout", "failedoperation.engineservererror"),
            "failedoperation.consoleservererror",
        ),
        ServerError,
    ),
}

#: Too broad to overrule what a message or a status says.
_BROAD = (InvalidRequestError, ServerError)


def by_code(error: APIError) -> APIError:
    """*error*, as what its code says it is, if that says more."""
    code = (error.code or "").lower()
    kind = _KINDS.get(code) or _KINDS.get(code.partition(".")[0])
    if kind is None or isinstance(error, kind) or (kind in _BROAD and type(error) is not APIError):
        return error
    return api_errors.as_kind(kind, error)
