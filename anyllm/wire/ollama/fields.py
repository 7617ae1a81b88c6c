"""What answers of all of Ollama's endpoints have in common: times, counts, probabilities."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from typing import Any

from anyllm.types import Usage
from anyllm.wire._base.getters import count

#: "2025-05-19T09:26:59.678947123Z": Go writes up to nine digits, which `datetime` does not read.
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?(Z|[+-]\d\d:\d\d)")


def read_usage(body: Mapping[str, Any]) -> Usage | None:
    """
    What the host counted, with its times in nanoseconds as ``raw``; None when it counted nothing.

    Old versions leave ``prompt_eval_count`` out where the whole prompt came from the cache.
    """
    prompt, completion = count(body, "prompt_eval_count"), count(body, "eval_count")
    if prompt is None and completion is None:
        return None
    prompt, completion = prompt or 0, completion or 0
    raw = {key: value for key, value in body.items() if key.endswith(("_count", "_duration"))}
    return Usage(prompt, completion, prompt + completion, raw=raw)


def read_logprobs(body: Mapping[str, Any]) -> dict[str, Any] | None:
    """The tokens of a line, in the shape that OpenAI gives them."""
    tokens = body.get("logprobs")
    return {"content": tokens} if isinstance(tokens, list) and tokens else None


def unix_time(text: Any) -> int:
    """Seconds since 1970; 0 when the host gives no time that can be read."""
    found = _TIME.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        return 0
    try:
        moment = datetime.datetime.fromisoformat(found[1] + found[2].replace("Z", "+00:00"))
        return max(0, int(moment.timestamp()))
    except (ValueError, OverflowError):
        return 0
