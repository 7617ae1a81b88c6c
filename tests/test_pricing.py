"""The cost of a call: by the price table, for models that it really names, or by the caller's own prices."""

from __future__ import annotations

import itertools
import json
import sys
from datetime import date, datetime, timedelta, timezone
from typing import Any, Dict, Iterator, Optional, Tuple

import pytest

from anyllm import pricing
from anyllm.pricing import Cost, Price, cost_of, price_table_date
from anyllm.providers.table import lookup
from anyllm.types import Usage

#: When all prices below are looked up: a day that the table knows, at an hour without discounts.
WHEN = datetime(2026, 10, 20, 12, tzinfo=timezone.utc)
PLAIN = Usage(12_000, 800, 12_800)
CACHED = Usage(12_000, 800, 12_800, 300, 9_000, 2_000)
LONG = Usage(300_000, 5_000, 305_000, None, 250_000, None)

GLOBAL_HAIKU = "global.anthropic.claude-haiku-4-5-20251001-v1:0"
#: Our provider and model, and the library's.
MODELS = [
    ("openai", "gpt-4o", "openai", "gpt-4o"),
    ("openai", "gpt-4o-2024-08-06", "openai", "gpt-4o-2024-08-06"),
    ("openai", "openai/gpt-4o-mini", "openai", "gpt-4o-mini"),
    ("openai-responses", "gpt-5", "openai", "gpt-5"),
    ("openai", "o3", "openai", "o3"),
    ("openai", "GPT-4.1-Nano", "openai", "gpt-4.1-nano"),
    ("openai", "ft:gpt-4o-mini-2024-07-18:acme::Ab12", "openai", "ft:gpt-4o-mini-2024-07-18:acme::Ab12"),
    ("azure", "gpt-4o-2024-11-20", "azure", "gpt-4o-2024-11-20"),
    ("azure_anthropic", "claude-sonnet-4-5", "azure", "claude-sonnet-4-5"),
    ("anthropic", "claude-sonnet-4-5-20250929", "anthropic", "claude-sonnet-4-5-20250929"),
    ("claude", "claude-3-haiku-20240307", "anthropic", "claude-3-haiku-20240307"),
    ("anthropic", "claude-3-5-haiku-latest", "anthropic", "claude-3-5-haiku-latest"),
    ("anthropic", "claude-opus-4-1", "anthropic", "claude-opus-4-1"),
    ("gemini", "models/gemini-2.5-flash", "google", "gemini-2.5-flash"),
    ("gemini", "gemini-2.5-pro", "google", "gemini-2.5-pro"),
    ("gemini", "gemini-2.0-flash-001", "google", "gemini-2.0-flash-001"),
    ("vertex", "projects/p/locations/eu/publishers/google/models/gemini-2.5-pro", "google", "gemini-2.5-pro"),
    ("vertex_anthropic", "claude-sonnet-4-5@20250929", "google", "claude-sonnet-4-5@20250929"),
    ("bedrock", "us.anthropic.claude-3-5-sonnet-20241022-v2:0", "aws", "us.anthropic.claude-3-5-sonnet-20241022-v2:0"),
    ("bedrock", GLOBAL_HAIKU, "aws", GLOBAL_HAIKU),
    ("bedrock", "us.anthropic.claude-opus-4-6-v1", "aws", "us.anthropic.claude-opus-4-6-v1"),
    ("bedrock", "eu.amazon.nova-lite-v1:0", "aws", "amazon.nova-lite-v1:0"),
    ("bedrock_invoke", "meta.llama3-1-8b-instruct-v1:0", "aws", "meta.llama3-1-8b-instruct-v1:0"),
    (
        "bedrock",
        "arn:aws:bedrock:us-east-1:1234:inference-profile/us.anthropic.claude-3-haiku-20240307-v1:0",
        "aws",
        "us.anthropic.claude-3-haiku-20240307-v1:0",
    ),
    ("mistral", "mistral-large-latest", "mistral", "mistral-large-latest"),
    ("mistral", "magistral-medium-2506", "mistral", "magistral-medium-2506"),
    ("deepseek", "deepseek-chat", "deepseek", "deepseek-chat"),
    ("xai", "grok-4-latest", "x-ai", "grok-4-latest"),
    ("groq", "llama-3.1-8b-instant", "groq", "llama-3.1-8b-instant"),
    ("openrouter", "openai/gpt-4o", "openrouter", "openai/gpt-4o"),
    ("openrouter", "openrouter/openai/gpt-4o", "openrouter", "openai/gpt-4o"),
    ("openrouter", "allenai/molmo-7b-d:free", "openrouter", "allenai/molmo-7b-d:free"),
    ("together_ai", "Qwen/Qwen1.5-0.5B", "together", "Qwen/Qwen1.5-0.5B"),
    ("perplexity", "sonar-pro", "perplexity", "sonar-pro"),
    ("cohere", "command-r7b-12-2024", "cohere", "command-r7b-12-2024"),
    ("kimi", "kimi-k2-thinking", "moonshotai", "kimi-k2-thinking"),
    ("hf", "meta-llama/Llama-3.3-70B-Instruct:groq", "huggingface_groq", "meta-llama/Llama-3.3-70B-Instruct"),
    ("", "groq/llama-3.1-8b-instant", "groq", "llama-3.1-8b-instant"),
]
#: Provider and model; each is matched by the library's own rule, or by none.
MISLEADING = [
    (provider, model)
    for provider, models in {
        "openai": (
            "gpt-4o-mini-my-finetune not-gpt-4o gpt-4o-2024 gpt-4o-audio-preview-foo my-moderation-model "
            "ft:gpt-4-0613:acme::Ab12 claude-3-haiku-20240307 openai/"
        ),
        "anthropic": "claude-3-haiku-foo claude-3-haiku-20241399 claude-haiku-4-5-mini gpt-4o",
        "azure": "my-o4-mini deepseek-chat grok-3",
        "gemini": "gemini-1.5-flash-8b gemini-2.5-pro-tuned tunedModels/gemini-2.0-flash claude-3-haiku",
        "bedrock": (
            "my-amazon.nova-lite-v1:0 amazon.nova-lite-v9:0 xus.anthropic.claude-haiku-4-5-20251001-v1:0 "
            "us.anthropic.claude-3-5-sonnet-20241022-v9:0 global.anthropic.claude-3-haiku-20240307-v1:0 "
            "arn:aws:bedrock:us-east-1:1:application-inference-profile/us.anthropic.claude-3-haiku-20240307-v1:0"
        ),
        "deepseek": "deepseek-r1-distill-llama-70b",
        "mistral": "magistral-medium-foo mixtral-8x7b-instruct-bar",
        "cohere": "command-light-anything not-c4ai-aya-expanse-8b",
        "huggingface": "meta-llama/Llama-3.3-70B-Instruct meta-llama/Llama-3.3-70B-Instruct:nobody",
        "openrouter": "openai/gpt-4o:online",
        "nobody": "gpt-4o",
        "": "gpt-4o",
    }.items()
    for model in models.split()
] + [("openai", "")]
LOCAL = ["ollama", "local", "vllm", "llama_cpp", "llamacpp", "llamafile", "lm_studio", "xinference", "compatible"]


@pytest.fixture
def library() -> Any:
    return pytest.importorskip("genai_prices")


@pytest.fixture
def snapshot(library: Any) -> Iterator[Any]:
    """Puts another table in the place of the library's."""
    from genai_prices import data_snapshot

    yield data_snapshot.set_custom_snapshot
    data_snapshot.set_custom_snapshot(None)


@pytest.fixture
def no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "genai_prices"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "genai_prices", None)


def priced(library: Any, usage: Usage, model: str, provider: str, **more: Any) -> Any:
    """The library's own price."""
    counts = library.Usage(
        input_tokens=usage.prompt_tokens,
        output_tokens=usage.completion_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_tokens,
    )
    more.setdefault("genai_request_timestamp", WHEN)
    return library.calc_price(counts, model, provider_id=provider, **more)


def id_in_table(provider: str) -> str:
    """The library's id of a provider of ours; "?" if it has none."""
    row = lookup.find(provider)
    return "?" if row is None or row.price_listing is None else row.price_listing.provider


def parts(cost: Cost) -> float:
    return cost.input_usd + cost.output_usd + cost.cache_read_usd + cost.cache_write_usd + cost.request_usd


# -- the table


@pytest.mark.parametrize("usage", [PLAIN, CACHED, LONG], ids=["plain", "cached", "long"])
@pytest.mark.parametrize(("provider", "model", "library_id", "their_model"), MODELS)
def test_a_cost_is_the_librarys_and_its_parts_add_up(
    library: Any, provider: str, model: str, library_id: str, their_model: str, usage: Usage
) -> None:
    cost = cost_of(usage, model, provider, timestamp=WHEN)
    price = priced(library, usage, their_model, library_id)
    assert cost.total_usd == pytest.approx(float(price.total_price), rel=1e-12, abs=1e-15)
    assert parts(cost) == pytest.approx(cost.total_usd, rel=1e-9)
    assert cost.output_usd == pytest.approx(float(price.output_price))
    assert cost.model.endswith(f"/{price.model.id}")
    assert (cost.source, cost.as_of) == ("genai-prices", price_table_date().isoformat())


#: The counts by modality that Gemini sends.
PROMPT = [{"modality": "TEXT", "tokenCount": 1_000}, {"modality": "AUDIO", "tokenCount": 3_000}]
CACHE = [{"modality": "TEXT", "tokenCount": 200}, {"modality": "AUDIO", "tokenCount": 500}]
#: Anthropic's own counts have the time for which it cached.
CACHED_FOR = {"ephemeral_5m_input_tokens": 400, "ephemeral_1h_input_tokens": 600}
#: Usage, and costs by the price list. The prices of Claude 3 Haiku will not change any more: 0.25 in, 1.25 out, 0.03
#: read, 0.30 written.
PRICE_LIST = {
    "haiku": (
        Usage(10_000, 1_000, 11_000, None, 6_000, 1_000),
        ("claude-3-haiku-20240307", "anthropic"),
        {
            "input_usd": 3_000 * 0.25e-6,
            "output_usd": 1_000 * 1.25e-6,
            "cache_read_usd": 6_000 * 0.03e-6,
            "cache_write_usd": 1_000 * 0.30e-6,
            "cache_savings_usd": 6_000 * (0.25e-6 - 0.03e-6) - 1_000 * (0.30e-6 - 0.25e-6),
        },
    ),
    "cache writes alone": (
        Usage(10_000, 0, 10_000, None, 0, 10_000),
        ("claude-3-haiku-20240307", "anthropic"),
        {"cache_savings_usd": -10_000 * 0.05e-6, "input_usd": 0},
    ),
    "an hour of cache": (
        Usage(2_000, 10, 2_010, None, 0, 1_000, raw={"cache_creation": CACHED_FOR}),
        ("claude-3-5-haiku-latest", "anthropic"),
        {"cache_write_usd": 400 * 1e-6 + 600 * 1.6e-6, "input_usd": 1_000 * 0.8e-6},
    ),
    "sounds": (
        Usage(4_000, 10, 4_010, raw={"promptTokensDetails": PROMPT}),
        ("gemini-2.5-flash", "gemini"),
        {"input_usd": 1_000 * 0.3e-6 + 3_000 * 1e-6},
    ),
    "cached sounds": (
        Usage(4_000, 10, 4_010, None, 700, raw={"promptTokensDetails": PROMPT, "cacheTokensDetails": CACHE}),
        ("gemini-2.5-flash", "gemini"),
        {"cache_read_usd": 200 * 0.03e-6 + 500 * 0.1e-6, "input_usd": 800 * 0.3e-6 + 2_500 * 1e-6},
    ),
}


@pytest.mark.parametrize(("usage", "names", "expected"), PRICE_LIST.values(), ids=PRICE_LIST)
def test_the_parts_match_the_price_list(library: Any, usage: Usage, names: Tuple[str, str], expected: Any) -> None:
    cost = cost_of(usage, *names, timestamp=WHEN)
    assert {name: getattr(cost, name) for name in expected} == pytest.approx(expected)
    assert parts(cost) == pytest.approx(cost.total_usd)


def test_a_cache_without_a_price_is_input(library: Any) -> None:
    cost = cost_of(CACHED, "llama-3.1-8b-instant", "groq", timestamp=WHEN)
    assert cost.cache_read_usd == cost.cache_write_usd == cost.cache_savings_usd == 0
    assert cost.input_usd == cost_of(PLAIN, "llama-3.1-8b-instant", "groq", timestamp=WHEN).input_usd


def test_a_long_prompt_costs_more_in_all_its_parts(library: Any) -> None:
    """Gemini 2.5 Pro, beyond 200,000 tokens."""
    short, long = Usage(200_000, 1_000, 201_000, None, 100_000), Usage(400_000, 1_000, 401_000, None, 100_000)
    low, high = (cost_of(usage, "gemini-2.5-pro", "gemini", timestamp=WHEN) for usage in (short, long))
    assert high.cache_read_usd == pytest.approx(2 * low.cache_read_usd)
    assert high.input_usd == pytest.approx(3 * 2 * low.input_usd)
    assert high.output_usd > low.output_usd


def test_a_fee_for_the_call_is_a_part(library: Any) -> None:
    cost = cost_of(PLAIN, "sonar", "perplexity", timestamp=WHEN)
    assert cost.request_usd > 0
    assert cost.total_usd == pytest.approx(cost.input_usd + cost.output_usd + cost.request_usd)


def test_cached_audio_needs_its_own_count(library: Any) -> None:
    """Of 700 tokens read, some may be sounds at another price."""
    raw = {"promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 3_000}]}
    assert cost_of(Usage(4_000, 10, 4_010, None, 700, raw=raw), "gemini-2.5-flash", "gemini") is None


@pytest.mark.parametrize(
    "usage", [Usage(100, 10, 110, None, 200), Usage(100, 10, 110, None, 60, 60), Usage(-1, 10, 9)], ids=repr
)
@pytest.mark.parametrize("prices", [None, {"claude-3-haiku": Price(1, 1, 1, 1)}])
def test_counts_that_contradict_each_other_have_no_cost(library: Any, usage: Usage, prices: Any) -> None:
    assert cost_of(usage, "claude-3-haiku", "anthropic", prices=prices) is None


def test_reasoning_that_was_counted_otherwise_is_no_contradiction(library: Any) -> None:
    usage = Usage(100, 365, 465, 369)
    assert cost_of(usage, "sonar-deep-research", "perplexity", timestamp=WHEN) is not None


# -- when


def test_prices_are_those_of_their_day(library: Any) -> None:
    """o3 became five times cheaper on 2025-06-10."""
    day = datetime(2025, 6, 10, tzinfo=timezone.utc)
    before, after = (cost_of(PLAIN, "o3", "openai", timestamp=day + timedelta(hours=hours)) for hours in (-1, 1))
    assert before.total_usd == pytest.approx(5 * after.total_usd)
    assert before == cost_of(PLAIN, "o3", "openai", timestamp=(day - timedelta(hours=1)).timestamp())
    assert before == cost_of(PLAIN, "o3", "openai", timestamp=(day - timedelta(hours=1)).replace(tzinfo=None))
    assert after == cost_of(PLAIN, "o3", "openai", timestamp=day.replace(tzinfo=timezone(timedelta(hours=-1))))


def test_prices_are_those_of_their_hour(library: Any) -> None:
    night, noon = (cost_of(PLAIN, "deepseek-chat", "deepseek", timestamp=datetime(2025, 6, 1, h)) for h in (20, 12))
    assert night.total_usd < noon.total_usd


def test_a_tier_has_its_price_or_none(library: Any) -> None:
    def cost(tier: Optional[str], model: str = "o3", provider: str = "openai") -> Optional[Cost]:
        return cost_of(PLAIN, model, provider, timestamp=WHEN, service_tier=tier)

    assert cost("default") == cost("auto") == cost(None) is not None
    assert cost("flex").total_usd == pytest.approx(cost(None).total_usd / 2)
    assert cost("flex").total_usd == pytest.approx(
        float(priced(library, PLAIN, "o3", "openai", price_context={"service_tier": "flex"}).total_price)
    )
    assert cost("scale") is None
    assert cost("priority", "gpt-4o", "openai") is not None
    assert cost("priority", "gpt-4o", "azure") is None  # the table's tiers are OpenAI's own


# -- which model


@pytest.mark.parametrize(("provider", "model"), MISLEADING)
def test_a_name_that_only_resembles_a_models_name_has_no_cost(library: Any, provider: str, model: str) -> None:
    assert cost_of(PLAIN, model, provider) is None


def test_most_of_these_would_have_been_guessed(library: Any) -> None:
    """Else the test above would show nothing."""

    def guessed(provider: str, model: str) -> bool:
        try:
            priced(library, PLAIN, model, id_in_table(provider))
        except (LookupError, ValueError):
            return False
        return True

    assert sum(guessed(*names) for names in MISLEADING) >= 20


@pytest.mark.parametrize("provider", ["openai", "anthropic", "gemini", "bedrock", "mistral", "deepseek", "cohere"])
def test_no_entry_answers_to_another_name(library: Any, provider: str) -> None:
    """Over the whole table: names near an entry's have its price only if they are a name of that entry themselves."""
    from genai_prices import data_snapshot

    table = data_snapshot.get_snapshot()
    listed = next(one for one in table.providers if one.id == id_in_table(provider))
    named = {name for entry in listed.models for name in (entry.id.lower(), *pricing._literals(entry.match))}
    for entry in listed.models:
        for name in (f"not-{entry.id}", f"x{entry.id}", f"{entry.id}-foo", f"{entry.id}-tuned", f"{entry.id}x"):
            if name.lower() not in named:
                assert cost_of(PLAIN, name, provider) is None, name


def test_every_id_in_our_rows_is_in_the_table(library: Any) -> None:
    from genai_prices import data_snapshot

    ids = {one.id for one in data_snapshot.get_snapshot().providers}
    listings = [row.price_listing for row in lookup.ROWS if row.price_listing is not None]
    assert {one.provider.format("groq") for one in listings} <= ids
    assert {name for one in listings for name in one.list_price_of} <= ids


@pytest.mark.parametrize("provider", LOCAL)
@pytest.mark.parametrize("model", ["gpt-oss-20b", "gpt-4o", "smollm2"])
def test_local_servers_have_no_known_cost(library: Any, provider: str, model: str) -> None:
    assert lookup.find(provider) is not None
    assert cost_of(PLAIN, model, provider) is None
    assert cost_of(PLAIN, model, provider, prices={model: Price(1, 0)}).total_usd == pytest.approx(0.012)


def test_our_own_string_wins_over_a_model_that_is_called_so(library: Any) -> None:
    """Perplexity sells "sonar", and in another of its services a "perplexity/sonar" at another price."""
    assert cost_of(PLAIN, "perplexity/sonar", "perplexity") == cost_of(PLAIN, "sonar", "perplexity")


# -- prices of one's own


@pytest.mark.parametrize("price", [Price(2, 10, 0.5, 3), {"input_usd": 2, "output_usd": 10}], ids=["price", "dict"])
def test_own_prices_need_no_library(no_library: None, price: Any) -> None:
    cost = cost_of(Usage(1_000_000, 100_000, 1_100_000, None, 400_000, 100_000), "m", "mine", prices={"m": price})
    if isinstance(price, Price):
        assert (cost.input_usd, cost.cache_read_usd, cost.cache_write_usd) == pytest.approx((1.0, 0.2, 0.3))
        assert cost.cache_savings_usd == pytest.approx(2.0 - 1.5)
    else:
        assert (cost.input_usd, cost.cache_read_usd, cost.cache_write_usd, cost.cache_savings_usd) == (2.0, 0, 0, 0)
    assert cost.output_usd == pytest.approx(1.0)
    assert cost.total_usd == pytest.approx(parts(cost))
    assert (cost.source, cost.model, cost.as_of) == ("override", "m", None)


def test_own_prices_win_the_most_particular_first(library: Any) -> None:
    prices: Dict[str, Price] = {}

    def key(model: str = "gpt-4o-2024-08-06", provider: str = "openai") -> Tuple[str, str]:
        cost = cost_of(PLAIN, model, provider, prices=prices)
        return cost.source, cost.model

    assert key() == ("genai-prices", "openai/gpt-4o")
    for name in ("gpt-4o", "openai/gpt-4o", "gpt-4o-2024-08-06", "openai/gpt-4o-2024-08-06"):
        prices[name] = Price(1, 1)
        assert key() == ("override", name)
    assert key("openai/gpt-4o") == ("override", "openai/gpt-4o")
    assert key("openai/gpt-4o", "") == ("override", "openai/gpt-4o")
    assert key("gpt-4o-mini") == ("genai-prices", "openai/gpt-4o-mini")
    assert key("gpt-4o", "azure") == ("override", "gpt-4o")


def test_own_prices_are_found_under_any_name_of_the_provider(library: Any) -> None:
    for name, alias in itertools.permutations(("bedrock", "aws_bedrock"), 2):
        assert cost_of(PLAIN, "m", alias, prices={f"{name}/m": Price(1, 1)}).model == f"{name}/m"


@pytest.mark.parametrize("wrong", [-1, float("nan"), float("inf")])
def test_a_price_is_finite_and_not_negative(wrong: float) -> None:
    for fields in ((wrong, 1), (1, wrong), (1, 1, wrong), (1, 1, None, wrong)):
        with pytest.raises(ValueError, match="finite and not negative"):
            Price(*fields)


def test_a_price_is_a_number() -> None:
    for wrong in ("1", True, None):
        with pytest.raises(TypeError, match="input_usd must be US dollars"):
            Price(wrong, 1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="input"):
        cost_of(PLAIN, "m", "mine", prices={"m": {"input": 1, "output_usd": 1}})


# -- the table's date


def test_without_a_table_costs_are_unknown_and_the_error_names_the_package(no_library: None) -> None:
    assert cost_of(PLAIN, "gpt-4o", "openai") is None
    with pytest.raises(ImportError, match="pip install genai-prices"):
        price_table_date()


def test_a_fetched_table_is_as_old_as_its_fetching(library: Any, snapshot: Any) -> None:
    from genai_prices import data_snapshot

    bundled = data_snapshot.get_snapshot()
    fetched = datetime(2031, 5, 4, 3, 2)
    snapshot(data_snapshot.DataSnapshot(bundled.providers, True, timestamp=fetched))
    assert price_table_date() == date(2031, 5, 4)
    assert cost_of(PLAIN, "gpt-4o", "openai").as_of == "2031-05-04"


def test_a_bundled_table_is_as_new_as_its_newest_change(library: Any, snapshot: Any) -> None:
    """And not as new as one that is announced."""
    from genai_prices import data_snapshot, types

    def since(day: date) -> Any:
        return types.ConditionalPrice(types.StartDateConstraint(day), prices=types.ModelPrice())

    ahead = datetime.now(tz=timezone.utc).date() + timedelta(days=30)
    days = (date(2025, 3, 2), date(2026, 1, 5), date(2024, 1, 1), ahead)
    entry = types.ModelInfo("m", types.ClauseEquals("m"), prices=[since(day) for day in days])
    snapshot(data_snapshot.DataSnapshot([types.Provider("openai", "OpenAI", "", models=[entry])], False))
    assert price_table_date() == date(2026, 1, 5)


def test_a_cost_survives_its_dict(library: Any) -> None:
    cost = cost_of(CACHED, "claude-3-haiku", "anthropic")
    assert Cost.from_dict(json.loads(json.dumps(cost.to_dict()))) == cost
