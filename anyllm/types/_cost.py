"""What a call cost."""

from __future__ import annotations

from typing import Optional

import attrs

from anyllm.types._base import Serializable


@attrs.define(frozen=True)
class Cost(Serializable):
    """
    What one call cost, in US dollars. The parts add up to the total, but for rounding.

    Attributes:
        total_usd: All of it.
        input_usd: The prompt, less what is counted under the cache.
        output_usd: The answer, reasoning included.
        cache_read_usd: What was read from a cache; 0 where that has no price of its own and counts as input.
        cache_write_usd: What was written to a cache; 0 likewise.
        request_usd: A fee for the call itself (Perplexity's).
        cache_savings_usd: What the same prompt would have cost without a cache, less what it cost with it; negative
            where writing was dearer than what reading saved. No part of the total.
        as_of: The price table's date, "2026-10-14", see `anyllm.pricing.price_table_date`; None for prices of your own.
        source: "genai-prices", "override", or "cache" where an answer that was kept cost nothing again.
        model: The table's entry, as "provider/model", or the key of your own price.
    """

    total_usd: float
    input_usd: float
    output_usd: float
    cache_read_usd: float = 0.0
    cache_write_usd: float = 0.0
    request_usd: float = 0.0
    cache_savings_usd: float = 0.0
    as_of: Optional[str] = None
    source: str = "genai-prices"
    model: str = ""
