"""
Error classes of the codes of Alibaba Cloud and Tencent Cloud, ``Category.Detail``.

The codes are more specific than the statuses: Tencent sends 200 with every error, and Alibaba 400 for an account in
arrears.

Sources: https://www.alibabacloud.com/help/en/model-studio/error-code,
https://cloud.tencent.com/document/api/1729/101843, https://cloud.tencent.com/document/api/1729/105705
"""

from __future__ import annotations

from anyllm import errors
from anyllm.errors import APIError
from anyllm.wire._base import api_errors

__all__ = ["refine_by_code"]

#: Codes and categories in lower case.
_KINDS = api_errors.by_code(
    {
        errors.AuthenticationError: "authfailure",
        errors.PermissionDeniedError: "unauthorizedoperation accessdenied model.accessdenied workspace.accessdenied "
        "failedoperation.servicenotactivated failedoperation.servicestop failedoperation.userunautherror "
        "resourceunavailable.notexist",
        errors.RateLimitError: "throttling limitexceeded requestlimitexceeded "
        "failedoperation.engineserverlimitexceeded",
        errors.InsufficientFundsError: "arrearage prepaidbilloverdue postpaidbilloverdue allocationquota "
        "resourceinsufficient resourceunavailable failedoperation.servicestoparrears "
        "failedoperation.resourcepackexhausted failedoperation.freeresourcepackexhausted",
        errors.ContentFilterError: "operationdenied.textillegaldetected operationdenied.imageillegaldetected "
        "datainspectionfailed data_inspection_failed failedoperation.generateimagefailed",
        errors.ModelNotFoundError: "invalidparametervalue.model modelnotfound",
        errors.OverloadedError: "modelunavailable serviceunavailable",
        errors.InvalidRequestError: "invalidparameter invalidparametervalue missingparameter unsupportedoperation "
        "invalidrequest invalidaction nosuchversion requestsizelimitexceeded badrequest invalidurl "
        "unsupportedprotocol unsupportedregion resourcenotfound operationdenied",
        errors.ServerError: "internalerror requesttimeout systemerror modelservicefailed modelservingerror "
        "failedoperation.enginerequesttimeout failedoperation.engineservererror failedoperation.consoleservererror",
    }
)

#: Too broad to overrule the class from a message or a status.
_BROAD = (errors.InvalidRequestError, errors.ServerError)


def refine_by_code(error: APIError) -> APIError:
    """*error*, as the class of its code if that is more specific."""
    code = (error.code or "").lower()
    kind = _KINDS.get(code) or _KINDS.get(code.partition(".")[0])
    if kind is None or isinstance(error, kind) or (kind in _BROAD and type(error) is not APIError):
        return error
    return api_errors.as_kind(kind, error)
