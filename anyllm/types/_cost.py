"""`Cost`: the price of a call in US dollars."""

from __future__ import annotations

from typing import Optional

import attrs

from anyllm.types._base import Serializable


@attrs.define(frozen=True)
class Cost(Serializable):
    """
    The price of one call in US dollars. The parts add up to the total, except for rounding.

    Attributes:
        total_usd: The total.
        input_usd: The prompt without the tokens that are priced as cached.
        output_usd: The answer, reasoning included.
        cache_read_usd: Tokens read from a cache; 0 if they are priced as input.
        cache_write_usd: Tokens written to a cache; 0 if they are priced as input.
        request_usd: A fee for the call itself (Perplexity's).
        cache_savings_usd: The price of the same prompt without a cache, minus its price with it; negative if writing
            cost more than reading saved. Not part of the total.
        as_of: The price table's date, "2026-10-14", see `anyllm.pricing.price_table_date`; None for prices of your own.
        source: "genai-prices", "override", or "cache" for a cached answer, which costs nothing again.
        model: The table's entry as "provider/model", or the key of your own price.
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
