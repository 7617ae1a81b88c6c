"""
The cost of a call, from its usage and the price table of genai-prices or your own prices.

Strategy: genai-prices (the extra ``prices``, loaded on first use) has the table and the arithmetic. Its matching is
generous, though: "claude-3-haiku-anything" has the price of Claude 3 Haiku, because its name begins so. Here a match
counts only if the entry also *names* the model (see `cost_of`). Otherwise the cost is unknown: None, never 0.

Source: https://github.com/pydantic/genai-prices
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from datetime import date, datetime, timezone
from decimal import Decimal
from typing import Any, Optional, Union

import attrs

from anyllm._hints.arguments import number
from anyllm._hints.extras import pip_install
from anyllm.providers.table import lookup
from anyllm.providers.table.row import PriceListing
from anyllm.types import Cost, Serializable, Usage, _convert

__all__ = ["Cost", "Price", "cost_of", "price_table_date"]

_CACHED = frozenset({"cache_read_tokens", "cache_write_tokens"})
_STANDARD_TIERS = ("auto", "default", "standard", "on_demand")

_MONTH, _DAY = "(?:0[1-9]|1[0-2])", "(?:0[1-9]|[12][0-9]|3[01])"
#: Suffixes that do not change the model: "-20241022", "@20241022", "-2024-08-06", "-05-20",
#: "-09-2025", "-2506" (Mistral's year and month), "-latest", "@default" (Vertex).
_DATED = re.compile(
    f"(?:[-@]20[0-9]{{2}}(-?){_MONTH}\\1{_DAY}|-{_MONTH}-(?:20[0-9]{{2}}|{_DAY})|-2[3-9]{_MONTH}|[-@]latest|@default)$"
)
#: The prefix of "models/gemini-2.5-flash", and Vertex's longer forms of it.
_RESOURCE = re.compile("^(?:projects/[^/]+/locations/[^/]+/)?(?:publishers/[^/]+/)?models/")
#: The prefix of AWS's own models and profiles; users name an "application-inference-profile".
_ARN = re.compile("^arn:aws[a-z-]*:bedrock:[^:/]*:[^:/]*:(?:foundation-model|inference-profile)/")
_GEOGRAPHY = re.compile(r"^(?:us|us-gov|eu|apac|au|jp|ca|in|global)\.")
#: OpenAI's "ft:BASE:organisation:name:id" and Azure's "BASE.ft-0123abcd-name".
_FINE_TUNED = re.compile(r"^(?:(ft:[^:]+):.*[^:]|(.+\.ft)-[0-9a-f]{16,}(?:-[a-z0-9]+)?)$")
#: The prefix of a table entry's id that says where its prices apply.
_SCOPE = re.compile(r"^(?:regional|global)\.")


def _usd(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value is None and attribute.default is None:
        return
    number(attribute.name, value, "US dollars (a number)")
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"{attribute.name} must be finite and not negative: {value!r}")


@attrs.define(frozen=True)
class Price(Serializable):
    """
    Your own price of a model, in US dollars per million tokens.

    Attributes:
        input_usd: For the prompt.
        output_usd: For the answer, reasoning included.
        cache_read_usd: For the part of the prompt that was read from a cache; None: as for the prompt.
        cache_write_usd: For the part that was written to a cache; None: as for the prompt.
    """

    input_usd: float = attrs.field(validator=_usd)
    output_usd: float = attrs.field(validator=_usd)
    cache_read_usd: Optional[float] = attrs.field(default=None, validator=_usd)
    cache_write_usd: Optional[float] = attrs.field(default=None, validator=_usd)


def cost_of(
    usage: Usage,
    model: str,
    provider: str = "",
    *,
    prices: Optional[Mapping[str, Union[Price, Mapping[str, Any]]]] = None,
    timestamp: Union[datetime, float, None] = None,
    service_tier: Optional[str] = None,
) -> Optional[Cost]:
    """
    The cost of a call; None if it is unknown.

    An entry of the table counts if the library matches it *and* its id, or a name in its rule, is the whole name of the
    model. These differences are ignored: case; the prefixes "models/" (with Vertex's longer paths) and "provider/"; the
    suffixes "-latest", a date, and Google's "-001"; on Bedrock a region ("us.", but not "global.", which has its own
    prices), AWS's own ARNs and "-v1:0". Fine-tuned models of OpenAI and Azure count if the table has a price for their
    base as a fine-tuned model; on Hugging Face the suffix ":groq" and the like names the provider that is paid. So
    "gpt-4o-mini-my-finetune", "not-gpt-4o", "claude-3-haiku-foo" and "gpt-4o" at Anthropic have no known cost, and
    neither have inconsistent counts (more tokens from the cache than in the prompt).

    Args:
        usage: The counts. Its ``raw`` may contain long-lived cache writes and audio, which cost more.
        model: The model's name, preferably the answer's own ``model``: on Azure the request's is a name you chose.
        provider: The provider that was paid, a name or alias of ours; "" if *model* is "provider/model".
        prices: Your own prices, a `Price` (or dict in that shape) under "provider/model" or "model". They win over the
            table, "provider/model" wins over "model", and a name with a date over one without.
        timestamp: The time of the call, for providers that have changed their prices: a datetime (a naive one is UTC)
            or seconds since 1970; None for now.
        service_tier: The answer's ``service_tier``; if it is not a standard tier and the table has no price for it, the
            cost is unknown.

    Raises:
        TypeError: a price in *prices* has the wrong type.
        ValueError: a price in *prices* is negative.

    The first call loads the table, which takes half a second. Without genai-prices only your own prices are known;
    `price_table_date` then raises an error that names the package to install.
    """
    if not provider:
        provider, _, model = model.partition("/")
    row = lookup.find(provider)
    aliases = {provider, *((row.name, *row.aliases) if row else ())}
    names = [model]
    if (prefix := model.partition("/")[0]) in aliases:  # Groq has a "groq/compound", OpenRouter an "openrouter/auto"
        names.insert(0, model[len(prefix) + 1 :])
    if prices and (key := _key_of_price(prices, aliases, names)) is not None:
        return _cost_at(usage, key, _convert.structure(Price, prices[key]))
    if row is None or row.price_listing is None or (library := _library()) is None:
        return None
    costs = (_cost(library, usage, name, row.price_listing, timestamp, service_tier) for name in names)
    return next(filter(None, costs), None)


def price_table_date() -> date:
    """
    The date of the price table.

    The table has no date of its own. This is the day when genai-prices fetched it, if `genai_prices.UpdatePrices` keeps
    it up to date; else the day of the newest price in it, which the table cannot be older than.

    Raises:
        ImportError: genai-prices is not installed, or this Python is too old for it.
    """
    library = _library()
    if library is None:
        raise ImportError(
            "prices come from genai-prices, which needs Python 3.11 or newer: "
            f"{pip_install('prices')}; your own prices, cost_of(..., prices={{...}}), need no package"
        )
    return _date_of(library.get_snapshot())


# -- the caller's prices


def _key_of_price(prices: Mapping[str, Any], aliases: set[str], names: list[str]) -> Optional[str]:
    for name in names:
        for spelling in _spellings(name):
            for key in (*(f"{alias}/{spelling}" for alias in sorted(aliases)), spelling):
                if key in prices:
                    return key
    return None


def _cost_at(usage: Usage, key: str, price: Price) -> Optional[Cost]:
    read_tokens, write_tokens = usage.cache_read_tokens or 0, usage.cache_write_tokens or 0
    if min(read_tokens, write_tokens, usage.completion_tokens) < 0 or read_tokens + write_tokens > usage.prompt_tokens:
        return None
    read_usd = 0 if price.cache_read_usd is None else price.cache_read_usd * read_tokens / 1e6
    write_usd = 0 if price.cache_write_usd is None else price.cache_write_usd * write_tokens / 1e6
    uncached = usage.prompt_tokens
    uncached -= 0 if price.cache_read_usd is None else read_tokens
    uncached -= 0 if price.cache_write_usd is None else write_tokens
    input_usd, output_usd = price.input_usd * uncached / 1e6, price.output_usd * usage.completion_tokens / 1e6
    return Cost(
        total_usd=input_usd + output_usd + read_usd + write_usd,
        input_usd=input_usd,
        output_usd=output_usd,
        cache_read_usd=read_usd,
        cache_write_usd=write_usd,
        cache_savings_usd=price.input_usd * usage.prompt_tokens / 1e6 - (input_usd + read_usd + write_usd),
        source="override",
        model=key,
    )


# -- the table


def _library() -> Any:
    """genai-prices' module with the table; None if it is not installed."""
    try:
        import genai_prices.data_snapshot
    except ImportError:
        return None
    return genai_prices.data_snapshot


def _cost(
    library: Any,
    usage: Usage,
    model: str,
    listing: PriceListing,
    timestamp: Union[datetime, float, None],
    tier: Optional[str],
) -> Optional[Cost]:
    table = library.get_snapshot()
    found = _find(table, model, listing)
    if found is None:
        return None
    provider, entry = found
    context = None
    if tier is not None and tier not in _STANDARD_TIERS:
        context = {"service_tier": tier}
        if provider.id != listing.provider or all(v.when != context for v in entry.price_variants or ()):
            return None
    try:
        parts = _parts_of_cost(entry.get_prices(_moment(timestamp), context), usage)
    except ValueError:  # the counts are inconsistent, or do not determine the price
        return None
    parts = {name: float(usd) for name, usd in parts.items()}
    return Cost(**parts, as_of=_date_of(table).isoformat(), model=f"{provider.id}/{entry.id}")


def _moment(timestamp: Union[datetime, float, None]) -> datetime:
    if isinstance(timestamp, datetime):
        return timestamp
    if timestamp is None:
        return datetime.now(tz=timezone.utc)
    return datetime.fromtimestamp(timestamp, tz=timezone.utc)


def _parts_of_cost(price: Any, usage: Usage) -> dict[str, Any]:
    """The parts of the cost, the total and the cache's savings, as exact decimals."""
    from genai_prices import Usage as Counts

    counts = _counts(usage)
    sums = price.calc_price(Counts(**counts))
    read_usd = write_usd = savings_usd = Decimal(0)
    if counts.keys() & _CACHED:
        read_usd = _cache_price(price, "_read").calc_price(Counts(**counts))["input_price"]
        write_usd = _cache_price(price, "_write").calc_price(Counts(**counts))["input_price"]
        uncached = {key: count for key, count in counts.items() if not key.startswith("cache_")}
        savings_usd = price.calc_price(Counts(**uncached))["input_price"] - sums["input_price"]
    return {
        "total_usd": sums["total_price"],
        "input_usd": sums["input_price"] - read_usd - write_usd,
        "output_usd": sums["output_price"],
        "cache_read_usd": read_usd,
        "cache_write_usd": write_usd,
        "request_usd": sums["total_price"] - sums["input_price"] - sums["output_price"],
        "cache_savings_usd": savings_usd,
    }


def _cache_price(price: Any, operation: str) -> Any:
    """*price* with only the cache's "_read" or "_write", all others 0: the library computes sums only."""
    parts = {key: value for key, value in vars(price).items() if key.startswith("cache_") and operation in key}
    return type(price)(**{**dict.fromkeys(vars(price), Decimal(0)), **parts})


def _counts(usage: Usage) -> dict[str, int]:
    """
    The usage under the library's names.

    Both count alike: the prompt includes cached tokens, the answer includes reasoning.
    """
    counts = {
        "input_tokens": usage.prompt_tokens,
        "output_tokens": usage.completion_tokens,
        "cache_read_tokens": usage.cache_read_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        # Some providers count it with another tokenizer, and get slightly more than for the whole answer.
        "output_reasoning_tokens": min(usage.reasoning_tokens or 0, usage.completion_tokens) or None,
        **_special_counts(usage.raw or {}),
    }
    return {key: count for key, count in counts.items() if count is not None}


def _special_counts(raw: Mapping[str, Any]) -> dict[str, Optional[int]]:
    """Counts with their own prices: cache writes for an hour (Anthropic), audio (OpenAI, Gemini), images in answers."""
    return {
        "cache_write_1h_tokens": _number(raw, "cache_creation", "ephemeral_1h_input_tokens"),
        "input_audio_tokens": _number(raw, "prompt_tokens_details", "audio_tokens")
        or _of_kind(raw.get("promptTokensDetails"), "AUDIO"),
        "output_audio_tokens": _number(raw, "completion_tokens_details", "audio_tokens")
        or _of_kind(raw.get("candidatesTokensDetails"), "AUDIO"),
        "output_image_tokens": _of_kind(raw.get("candidatesTokensDetails"), "IMAGE"),
        "cache_audio_read_tokens": _of_kind(raw.get("cacheTokensDetails"), "AUDIO"),
    }


def _number(raw: Mapping[str, Any], outer: str, inner: str) -> Optional[int]:
    details = raw.get(outer)
    value = details.get(inner) if isinstance(details, Mapping) else None
    return value if isinstance(value, int) and value > 0 else None


def _of_kind(details: Any, kind: str) -> Optional[int]:
    """The count of a modality in Gemini's list; None if there is no list."""
    if not isinstance(details, list):
        return None
    counts = [item.get("tokenCount") for item in details if isinstance(item, Mapping) and item.get("modality") == kind]
    return sum(count for count in counts if isinstance(count, int))


#: The last table and its date, cached: finding the date takes longer than computing a cost.
_cached_date: tuple[Any, Optional[date]] = (None, None)


def _date_of(table: Any) -> date:
    global _cached_date
    cached_table, day = _cached_date
    if cached_table is not table or day is None:
        day = table.timestamp.date() if table.from_auto_update else _newest_change(table)
        _cached_date = (table, day)
    return day


def _newest_change(table: Any) -> date:
    changes = (
        getattr(price.constraint, "start_date", date.min)
        for provider in table.providers
        for entry in provider.models
        for price in (*(entry.prices if isinstance(entry.prices, list) else ()), *(entry.price_variants or ()))
    )
    today = datetime.now(tz=timezone.utc).date()  # the table contains announced changes
    return max((day for day in changes if day <= today), default=date.min)


# -- the entry that names a model


def _find(table: Any, model: str, listing: PriceListing) -> Optional[tuple[Any, Any]]:
    """The provider and the entry that name *model*."""
    name, provider_id = _RESOURCE.sub("", _ARN.sub("", model.strip().lower())), listing.provider
    if "{}" in provider_id:  # a router: the name's suffix is the provider that is paid
        name, _, suffix = name.rpartition(":")
        provider_id = provider_id.format(suffix)
    provider = next((one for one in table.providers if one.id == provider_id), None)
    if provider is None or not name:
        return None
    try:
        _, entry = table.find_provider_model(name, provider, None, None)
    except LookupError:
        return None
    owner = next(one for one in table.providers if any(model is entry for model in one.models))
    if owner is not provider and owner.id not in listing.list_price_of:
        return None
    if entry.id.startswith(listing.not_sold):
        return None
    return (owner, entry) if _names(entry, name, listing) else None


def _names(entry: Any, name: str, listing: PriceListing) -> bool:
    """Whether *entry*, which the library's rule found, is called *name*."""
    names = {entry.id.lower(), *_literals(entry.match)}
    if listing.has_regions:
        if name.startswith("global.") != entry.id.startswith("global."):
            return False
        name = _GEOGRAPHY.sub("", name)
        names = {_GEOGRAPHY.sub("", _SCOPE.sub("", one)) for one in names}
    if listing.version is not None:
        version, entry_version = listing.version.search(name), listing.version.search(entry.id)
        if version and entry_version and version.groups() != entry_version.groups():
            return False
    return name in names or any(spelling.rstrip("-:@") in names for spelling in _spellings(name, listing))


def _literals(clause: Any) -> Iterator[str]:
    """The names in a rule of the library; of "starts with X" that is X."""
    for kind in ("equals", "starts_with", "ends_with", "contains"):
        if text := getattr(clause, kind, None):
            yield text.lower().strip("-:@/")
    for kind in ("or_", "and_"):
        for part in getattr(clause, kind, ()):
            yield from _literals(part)


def _spellings(name: str, listing: Optional[PriceListing] = None) -> Iterator[str]:
    """*name*, and the same without a version, a date, and the user's part of a fine-tuned model's name."""
    yield name
    if tuned := _FINE_TUNED.match(name):
        name = tuned[1] or tuned[2]
        yield name
    version = None if listing is None else listing.version
    for pattern in (_DATED,) if version is None else (version, _DATED):
        if match := pattern.search(name):
            name = name[: match.start()]
            yield name
