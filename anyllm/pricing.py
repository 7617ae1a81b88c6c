"""
What a call cost: from its usage, and a price table that others keep or prices of your own.

Strategy: the table and its arithmetic are genai-prices' (extra ``prices``), loaded on first use. Its matching is
generous, though: "claude-3-haiku-anything" costs what Claude 3 Haiku does, because its name begins so. Here a match
counts only if the entry also *names* the model (see `cost_of`); everything else costs None, which says that nobody
knows. None is never 0.

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

from anyllm._hints.extras import pip_install
from anyllm.providers.row import PriceTable
from anyllm.providers.table import lookup
from anyllm.types import Cost, Serializable, Usage, _convert

__all__ = ["Cost", "Price", "cost_of", "price_table_date"]

_CACHED = frozenset({"cache_read_tokens", "cache_write_tokens"})
_STANDARD_TIERS = ("auto", "default", "standard", "on_demand")

_MONTH, _DAY = "(?:0[1-9]|1[0-2])", "(?:0[1-9]|[12][0-9]|3[01])"
#: What may follow a model's name and still mean that model: "-20241022", "@20241022", "-2024-08-06", "-05-20",
#: "-09-2025", "-2506" (Mistral's year and month), "-latest", "@default" (Vertex).
_DATED = re.compile(
    f"(?:[-@]20[0-9]{{2}}(-?){_MONTH}\\1{_DAY}|-{_MONTH}-(?:20[0-9]{{2}}|{_DAY})|-2[3-9]{_MONTH}|[-@]latest|@default)$"
)
#: "models/gemini-2.5-flash", and Vertex's longer forms of the same.
_RESOURCE = re.compile("^(?:projects/[^/]+/locations/[^/]+/)?(?:publishers/[^/]+/)?models/")
#: What AWS runs itself; an "application-inference-profile" is named by its user.
_ARN = re.compile("^arn:aws[a-z-]*:bedrock:[^:/]*:[^:/]*:(?:foundation-model|inference-profile)/")
_GEOGRAPHY = re.compile(r"^(?:us|us-gov|eu|apac|au|jp|ca|in|global)\.")
#: OpenAI's "ft:BASE:organisation:name:id" and Azure's "BASE.ft-0123abcd-name".
_FINE_TUNED = re.compile(r"^(?:(ft:[^:]+):.*[^:]|(.+\.ft)-[0-9a-f]{16,}(?:-[a-z0-9]+)?)$")
#: In a table entry's id, which prices it is about.
_SCOPE = re.compile(r"^(?:regional|global)\.")


def _usd(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value is None and attribute.default is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{attribute.name} must be US dollars (a number), not {type(value).__name__}")
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"{attribute.name} must be finite and not negative: {value!r}")


@attrs.define(frozen=True)
class Price(Serializable):
    """
    Prices of your own, in US dollars per million tokens.

    Attributes:
        input_usd: For the prompt.
        output_usd: For the answer, reasoning included.
        cache_read_usd: For the part of the prompt that came from a cache; None for no other price than the prompt's.
        cache_write_usd: For the part that was written to one; None likewise.
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
    What a call cost; None when that is not known.

    An entry of the table counts if the library matches it *and* its id, or a name that its rule spells out, is the
    model's whole name, give or take: letters' case; "models/" and Vertex's longer paths; our own "provider/" in
    front; a date, "-latest" or Google's "-001" behind; on Bedrock a region ("us.") or an ARN of AWS's own in front and
    "-v1:0" behind, where "global." is never read as regional nor the other way round; OpenAI's and Azure's names of
    fine-tuned models, for bases with a price as such; on Hugging Face ":groq" and the like, which say who is paid.
    So "gpt-4o-mini-my-finetune", "not-gpt-4o", "claude-3-haiku-foo" and "gpt-4o" at Anthropic cost None. So do
    counts that contradict each other (more tokens from the cache than in the prompt).

    Args:
        usage: The counts. Long-lived cache writes and sounds, which cost more, are looked up in its ``raw``.
        model: As asked for, or better the answer's own ``model``: on Azure the former is a name you chose.
        provider: Who was paid: a name or alias of ours. "" if *model* is "provider/model".
        prices: Prices of your own, a `Price` (or dict in that shape) under "provider/model" or "model"; they win over
            the table, "provider/model" over "model", and a name with its date over one without.
        timestamp: When it was, as a datetime (naive means UTC) or seconds since 1970, for hosts that have changed
            their prices; None for now.
        service_tier: The answer's ``service_tier``. A tier that is not the standard one and that the table has no
            price for costs None.

    Raises:
        TypeError: a price in *prices* has the wrong type.
        ValueError: a price in *prices* is negative.

    The first call loads the table, which takes half a second. Without genai-prices there are only prices of your own;
    `price_table_date` then says what to install.
    """
    if not provider:
        provider, _, model = model.partition("/")
    row = lookup.find(provider)
    hosts = {provider, *((row.name, *row.aliases) if row else ())}
    names = [model]
    if (host := model.partition("/")[0]) in hosts:  # Groq has a "groq/compound", OpenRouter an "openrouter/auto"
        names.insert(0, model[len(host) + 1 :])
    if prices and (key := _own_key(prices, hosts, names)) is not None:
        return _own_cost(usage, key, _convert.structure(Price, prices[key]))
    if row is None or row.price_table is None or (library := _library()) is None:
        return None
    costs = (_cost(library, usage, name, row.price_table, timestamp, service_tier) for name in names)
    return next(filter(None, costs), None)


def price_table_date() -> date:
    """
    How old the price table is.

    The table itself bears no date. This is the day it was fetched, if genai-prices was told to keep it up to date
    (`genai_prices.UpdatePrices`), else that of the newest change of a price in it: it is at least as new as that.

    Raises:
        ImportError: genai-prices is not installed, or this Python is too old for it.
    """
    library = _library()
    if library is None:
        raise ImportError(
            "prices come from genai-prices, which needs Python 3.11 or newer: "
            f"{pip_install('prices')}; prices of your own, cost_of(..., prices={{...}}), need nothing"
        )
    return _date_of(library.get_snapshot())


# -- prices of the user's own


def _own_key(prices: Mapping[str, Any], hosts: set[str], names: list[str]) -> Optional[str]:
    for name in names:
        for spelling in _spellings(name):
            for key in (*(f"{host}/{spelling}" for host in sorted(hosts)), spelling):
                if key in prices:
                    return key
    return None


def _own_cost(usage: Usage, key: str, price: Price) -> Optional[Cost]:
    read, written = usage.cache_read_tokens or 0, usage.cache_write_tokens or 0
    if min(read, written, usage.completion_tokens) < 0 or read + written > usage.prompt_tokens:
        return None
    reading = 0 if price.cache_read_usd is None else price.cache_read_usd * read / 1e6
    writing = 0 if price.cache_write_usd is None else price.cache_write_usd * written / 1e6
    plain = usage.prompt_tokens
    plain -= 0 if price.cache_read_usd is None else read
    plain -= 0 if price.cache_write_usd is None else written
    given, answer = price.input_usd * plain / 1e6, price.output_usd * usage.completion_tokens / 1e6
    return Cost(
        total_usd=given + answer + reading + writing,
        input_usd=given,
        output_usd=answer,
        cache_read_usd=reading,
        cache_write_usd=writing,
        cache_savings_usd=price.input_usd * usage.prompt_tokens / 1e6 - (given + reading + writing),
        source="override",
        model=key,
    )


# -- the table


def _library() -> Any:
    """genai-prices' module of tables; None where it is not installed."""
    try:
        import genai_prices.data_snapshot
    except ImportError:
        return None
    return genai_prices.data_snapshot


def _cost(
    library: Any,
    usage: Usage,
    model: str,
    listing: PriceTable,
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
        parts = _priced(entry.get_prices(_moment(timestamp), context), usage)
    except ValueError:  # the counts contradict each other, or leave open which price applies
        return None
    parts = {name: float(usd) for name, usd in parts.items()}
    return Cost(**parts, as_of=_date_of(table).isoformat(), model=f"{provider.id}/{entry.id}")


def _moment(timestamp: Union[datetime, float, None]) -> datetime:
    if isinstance(timestamp, datetime):
        return timestamp
    if timestamp is None:
        return datetime.now(tz=timezone.utc)
    return datetime.fromtimestamp(timestamp, tz=timezone.utc)


def _priced(price: Any, usage: Usage) -> dict[str, Any]:
    """The parts of the cost, the total and what the cache saved, all exact."""
    from genai_prices import Usage as Counts

    counts = _counts(usage)
    sums = price.calc_price(Counts(**counts))
    reading = writing = saved = Decimal(0)
    if counts.keys() & _CACHED:
        reading = _only(price, "_read").calc_price(Counts(**counts))["input_price"]
        writing = _only(price, "_write").calc_price(Counts(**counts))["input_price"]
        uncached = {key: count for key, count in counts.items() if not key.startswith("cache_")}
        saved = price.calc_price(Counts(**uncached))["input_price"] - sums["input_price"]
    return {
        "total_usd": sums["total_price"],
        "input_usd": sums["input_price"] - reading - writing,
        "output_usd": sums["output_price"],
        "cache_read_usd": reading,
        "cache_write_usd": writing,
        "request_usd": sums["total_price"] - sums["input_price"] - sums["output_price"],
        "cache_savings_usd": saved,
    }


def _only(price: Any, what: str) -> Any:
    """*price*, with the cache's "_read" or "_write" as it is and all else at nothing: the library gives sums only."""
    kept = {key: value for key, value in vars(price).items() if key.startswith("cache_") and what in key}
    return type(price)(**{**dict.fromkeys(vars(price), Decimal(0)), **kept})


def _counts(usage: Usage) -> dict[str, int]:
    """
    The usage in the library's words.

    They count as ours do, all of the prompt and all of the answer, with what was cached or thought as parts of them.
    """
    counts = {
        "input_tokens": usage.prompt_tokens,
        "output_tokens": usage.completion_tokens,
        "cache_read_tokens": usage.cache_read_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        # Some hosts count it with another tokenizer, and come to a few more than the whole answer.
        "output_reasoning_tokens": min(usage.reasoning_tokens or 0, usage.completion_tokens) or None,
        **_particular(usage.raw or {}),
    }
    return {key: count for key, count in counts.items() if count is not None}


def _particular(raw: Mapping[str, Any]) -> dict[str, Optional[int]]:
    """What has a price of its own: cache writes for an hour (Anthropic), sounds (OpenAI, Gemini), images made."""
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
    """Gemini's list of counts by modality; None where there is none."""
    if not isinstance(details, list):
        return None
    fitting = [item.get("tokenCount") for item in details if isinstance(item, Mapping) and item.get("modality") == kind]
    return sum(count for count in fitting if isinstance(count, int))


#: The table that was dated last, and its date: going through all prices takes longer than a cost does.
_dated: tuple[Any, Optional[date]] = (None, None)


def _date_of(table: Any) -> date:
    global _dated
    known, day = _dated
    if known is not table or day is None:
        day = table.timestamp.date() if table.from_auto_update else _newest_change(table)
        _dated = (table, day)
    return day


def _newest_change(table: Any) -> date:
    changes = (
        getattr(priced.constraint, "start_date", date.min)
        for provider in table.providers
        for entry in provider.models
        for priced in (*(entry.prices if isinstance(entry.prices, list) else ()), *(entry.price_variants or ()))
    )
    today = datetime.now(tz=timezone.utc).date()  # changes are announced ahead
    return max((day for day in changes if day <= today), default=date.min)


# -- which entry names a model


def _find(table: Any, model: str, listing: PriceTable) -> Optional[tuple[Any, Any]]:
    """The provider and the entry that name *model*."""
    name, provider_id = _RESOURCE.sub("", _ARN.sub("", model.strip().lower())), listing.provider
    if "{}" in provider_id:  # a router: the host that is paid stands behind the model, or is not known
        name, _, host = name.rpartition(":")
        provider_id = provider_id.format(host)
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


def _names(entry: Any, name: str, listing: PriceTable) -> bool:
    """Whether *entry*, which the library's rule found, is called *name*."""
    names = {entry.id.lower(), *_literals(entry.match)}
    if listing.has_regions:
        if name.startswith("global.") != entry.id.startswith("global."):
            return False
        name = _GEOGRAPHY.sub("", name)
        names = {_GEOGRAPHY.sub("", _SCOPE.sub("", one)) for one in names}
    if listing.version is not None:
        mine, theirs = listing.version.search(name), listing.version.search(entry.id)
        if mine and theirs and mine.groups() != theirs.groups():
            return False
    return name in names or any(spelling.rstrip("-:@") in names for spelling in _spellings(name, listing))


def _literals(clause: Any) -> Iterator[str]:
    """The names that a rule of the library's spells out; of "starts with X" that is X."""
    for kind in ("equals", "starts_with", "ends_with", "contains"):
        if text := getattr(clause, kind, None):
            yield text.lower().strip("-:@/")
    for kind in ("or_", "and_"):
        for part in getattr(clause, kind, ()):
            yield from _literals(part)


def _spellings(name: str, listing: Optional[PriceTable] = None) -> Iterator[str]:
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
