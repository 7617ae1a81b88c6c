"""HTTP responses for streams: how long to wait for the first content, and the response for an error."""

from __future__ import annotations

from typing import Any, Literal, Optional, Union

from anyllm._serving.body import KEEP_ALIVE
from anyllm._serving.browser_formats import Sse
from anyllm._serving.public_errors import retry_after
from anyllm.wire._base.http_status import client_status, visitor_status
from anyllm.wire._base.writer import Format

#: Seconds; "keep_alive" for as many as that; None for no limit.
FirstContentTimeout = Union[float, Literal["keep_alive"], None]


def first_content_seconds(
    timeout: FirstContentTimeout, keep_alive: Optional[float], settings: dict[str, Any]
) -> Optional[float]:
    """
    Seconds to wait for the first content; None for no limit. ``patience``, the former name, is taken out of *settings*.

    Raises:
        ValueError: *timeout* is negative or NaN.
    """
    timeout = settings.pop("patience", timeout)
    if timeout == "keep_alive":
        return KEEP_ALIVE if keep_alive is None else keep_alive
    if timeout is not None and not timeout >= 0:
        raise ValueError(f"first_content_timeout must not be negative: {timeout!r}")
    return timeout


def error_status(error: BaseException, format: Format) -> int:
    """The HTTP status of a response with *error*; see `anyllm.formats.status`."""
    return visitor_status(error) if isinstance(format, Sse) else client_status(error)


def error_response(error: BaseException, format: Format) -> tuple[bytes, int, dict[str, str]]:
    """Body, status and headers of a response for *error*."""
    status = error_status(error, format)
    headers = {"Content-Type": "application/json", "Cache-Control": "no-store"}
    seconds = retry_after(error)
    if seconds is not None:
        headers["Retry-After"] = str(seconds)
    return format.problem(error, status), status, headers
