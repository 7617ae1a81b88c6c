"""
One measured run, in a process of its own: `run.py` starts it, and it prints one line of JSON.

    python benchmarks/client.py CLIENT TASK URL [--chunks N] [--streams N] [--pace SECONDS] [--trials N]

CLIENT is a key of `CLIENTS`, TASK one of `TASKS`. Each client is imported only by its own process.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

#: Streams one text, piece by piece, from the given base URL. May be called from any thread.
Open = Callable[[str], Iterator[str]]

_MODEL = "gpt-4o-mini"
_MESSAGES = [{"role": "user", "content": "Write a short story."}]
#: Seconds a thousand streams may take before a run is given up.
_PATIENCE = 300.0


# -- the clients -------------------------------------------------------------------------------------------------------


def _baseline() -> Open:
    import baseline
    import requests

    session = requests.Session()

    def open_stream(url: str) -> Iterator[str]:
        body = {"model": _MODEL, "messages": _MESSAGES, "stream": True}
        return baseline.stream(session, f"{url}/v1/chat/completions", body)

    return open_stream


def anyllm_calls(**options: Any) -> Callable[[str], Any]:
    """A function that begins a stream from the given base URL: the pair of channels."""
    import anyllm

    host = anyllm.provider("compatible", base_url="http://127.0.0.1")
    streaming = anyllm.StreamingOptions(**options) if options else None

    def begin(url: str) -> Any:
        params = anyllm.CompletionParams(model=_MODEL, messages=_MESSAGES)
        return host.completion_stream(anyllm.Context(), params, base_url=f"{url}/v1", options=streaming)

    return begin


def _anyllm() -> Open:
    begin = anyllm_calls()

    def open_stream(url: str) -> Iterator[str]:
        chunks, errors = begin(url)
        for chunk in chunks:
            content = chunk.content
            if content:
                yield content
        error = errors.get()
        if error is not None:
            raise error

    return open_stream


def _speaking(provider: str, base: str, model: str = _MODEL) -> Callable[[], Open]:
    """anyllm with another dialect; *base* is what its base URL has behind the server's."""

    def make() -> Open:
        import anyllm

        host = anyllm.provider(provider, api_key="none:none")

        def open_stream(url: str) -> Iterator[str]:
            params = anyllm.CompletionParams(model=model, messages=_MESSAGES)
            stream = host.completion_stream(anyllm.Context(), params, base_url=f"{url}{base}")
            return stream.text_stream

        return open_stream

    return make


def _chat_stream() -> Open:
    import anyllm

    clients: dict[str, anyllm.Client] = {}

    def open_stream(url: str) -> Iterator[str]:
        if url not in clients:
            clients[url] = anyllm.Client(f"compatible/{_MODEL}", base_url=f"{url}/v1")
        for chunk in clients[url].chat_stream(_MESSAGES):
            content = chunk.content
            if content:
                yield content

    return open_stream


def _openai() -> Open:
    import openai

    clients: dict[str, Any] = {}

    def open_stream(url: str) -> Iterator[str]:
        if url not in clients:
            clients[url] = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
        messages: Any = _MESSAGES
        for chunk in clients[url].chat.completions.create(model=_MODEL, messages=messages, stream=True):
            if chunk.choices and chunk.choices[0].delta.content:
                yield chunk.choices[0].delta.content

    return open_stream


def _anthropic() -> Open:
    import anthropic

    clients: dict[str, Any] = {}

    def open_stream(url: str) -> Iterator[str]:
        if url not in clients:
            clients[url] = anthropic.Anthropic(base_url=url, api_key="none", max_retries=0)
        messages: Any = _MESSAGES
        events = clients[url].messages.create(model="claude", max_tokens=9, messages=messages, stream=True)
        for event in events:
            if event.type == "content_block_delta" and event.delta.type == "text_delta":
                yield event.delta.text

    return open_stream


def _google_genai() -> Open:
    from google import genai

    clients: dict[str, Any] = {}

    def open_stream(url: str) -> Iterator[str]:
        if url not in clients:
            clients[url] = genai.Client(api_key="none", http_options={"base_url": url, "api_version": "v1beta"})
        for chunk in clients[url].models.generate_content_stream(model="gemini-2.5-flash", contents="Hello"):
            if chunk.text:
                yield chunk.text

    return open_stream


def _ollama() -> Open:
    import ollama

    clients: dict[str, Any] = {}

    def open_stream(url: str) -> Iterator[str]:
        if url not in clients:
            clients[url] = ollama.Client(host=url)
        for chunk in clients[url].chat(model="llama3.2", messages=_MESSAGES, stream=True):
            if chunk.message.content:
                yield chunk.message.content

    return open_stream


def _litellm() -> Open:
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # or importing it asks the network
    import litellm

    litellm.suppress_debug_info = True

    def open_stream(url: str) -> Iterator[str]:
        for chunk in litellm.completion(
            model=f"openai/{_MODEL}", messages=_MESSAGES, api_base=f"{url}/v1", api_key="none", stream=True
        ):
            if chunk.choices and chunk.choices[0].delta.content:
                yield chunk.choices[0].delta.content

    return open_stream


def _any_llm() -> Open:
    import any_llm

    def open_stream(url: str) -> Iterator[str]:
        messages: Any = _MESSAGES
        chunks: Any = any_llm.completion(
            provider="openai", model=_MODEL, messages=messages, api_base=f"{url}/v1", api_key="none", stream=True
        )
        for chunk in chunks:
            if chunk.choices and chunk.choices[0].delta.content:
                yield chunk.choices[0].delta.content

    return open_stream


#: By name: how to make the client ready.
CLIENTS: dict[str, Callable[[], Open]] = {
    "baseline": _baseline,
    "anyllm": _anyllm,
    "anyllm, chat_stream": _chat_stream,
    "openai": _openai,
    "anthropic": _anthropic,
    "any-llm-sdk": _any_llm,
    "litellm": _litellm,
    "google-genai": _google_genai,
    "ollama": _ollama,
    "anyllm, anthropic": _speaking("anthropic", ""),
    "anyllm, gemini": _speaking("gemini", "/v1beta"),
    "anyllm, ollama": _speaking("ollama", ""),
    "anyllm, openai-responses": _speaking("openai-responses", "/v1"),
    "anyllm, cohere": _speaking("cohere", ""),
    "anyllm, cohere_v1": _speaking("cohere_v1", ""),
    "anyllm, bedrock": _speaking("bedrock", "", model="amazon.titan-text-lite-v1"),
    "anyllm, bedrock_invoke": _speaking("bedrock_invoke", "", model="anthropic.claude-v2"),
    "anyllm, hunyuan": _speaking("hunyuan", "/hunyuan"),
    "anyllm, dashscope": _speaking("dashscope", ""),
}

#: Measured beside us where they are installed.
PEERS = ("openai", "anthropic", "any-llm-sdk", "litellm")

#: Each dialect of ours, and the official client of its host if it has one of its own.
DIALECTS = {
    "anyllm, anthropic": "anthropic",
    "anyllm, gemini": "google-genai",
    "anyllm, ollama": "ollama",
    "anyllm, openai-responses": None,
    **dict.fromkeys(
        (
            *("anyllm, cohere", "anyllm, cohere_v1", "anyllm, bedrock", "anyllm, bedrock_invoke"),
            *("anyllm, hunyuan", "anyllm, dashscope"),
        )
    ),
}

#: The module that shows whether a peer is installed, and what importing it costs.
MODULES = {
    "baseline": "requests",
    "anyllm": "anyllm",
    "openai": "openai",
    "anthropic": "anthropic",
    "any-llm-sdk": "any_llm",
    "litellm": "litellm",
    "google-genai": "google.genai",
    "ollama": "ollama",
}


# -- the tasks ---------------------------------------------------------------------------------------------------------


def _cpu() -> float:
    """Seconds of processor time of all threads of this process, the kernel's work for it included."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _resident() -> int:
    """Bytes of memory this process has now; 0 where the system does not say."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except OSError:
        return 0


def _warm_up(open_stream: Open, url: str) -> None:
    for _ in range(2):
        for _ in open_stream(f"{url}/e200"):
            pass


def stream(open_stream: Open, url: str, args: argparse.Namespace) -> dict[str, Any]:
    """One stream, as fast as it goes."""
    _warm_up(open_stream, url)
    source = f"{url}/e{args.chunks}"
    cpu, wall = _cpu(), time.perf_counter()
    count = sum(1 for _ in open_stream(source))
    cpu, wall = _cpu() - cpu, time.perf_counter() - wall
    return {"complete": count == args.chunks, "cpu_us": cpu / count * 1e6, "wall_us": wall / count * 1e6}


def first_chunk(open_stream: Open, url: str, args: argparse.Namespace) -> dict[str, Any]:
    """From the call to the first text, again and again, on a connection that stands."""
    _warm_up(open_stream, url)
    waits = []
    for _ in range(args.trials):
        begun = time.perf_counter()
        pieces = open_stream(f"{url}/e100")
        next(pieces)
        waits.append((time.perf_counter() - begun) * 1e3)
        for _ in pieces:
            pass
    return {"complete": True, "ms": statistics.median(waits), "worst_ms": max(waits)}


class _Crowd:
    """Many streams at once, each read by a thread of its own."""

    def __init__(self, open_stream: Open, source: str, size: int) -> None:
        self.texts = [0] * size
        self.failures: list[str] = []
        self._open_stream = open_stream
        self._source = source
        #: Guards the count below; held for one step only.
        self._changed = threading.Condition()
        self._begun = 0
        self._threads = [threading.Thread(target=self._read, args=(place,), daemon=True) for place in range(size)]

    def start(self) -> None:
        """Start all, and wait until each has its first text."""
        for thread in self._threads:
            thread.start()
        with self._changed:
            self._changed.wait_for(lambda: self._begun + len(self.failures) >= len(self._threads), _PATIENCE)

    def join(self) -> None:
        for thread in self._threads:
            thread.join(_PATIENCE)

    def _read(self, place: int) -> None:
        count = 0
        try:
            for _ in self._open_stream(self._source):
                count += 1
                if count == 1:
                    with self._changed:
                        self._begun += 1
                        self._changed.notify()
            self.texts[place] = count
        except Exception as exc:
            with self._changed:
                self.failures.append(f"{type(exc).__name__}: {exc}")
                self._changed.notify()


def crowd(open_stream: Open, url: str, args: argparse.Namespace) -> dict[str, Any]:
    """
    Many streams at once. All of them are opened first and held by the server after their first text: that is when
    memory is read. Then they are let go, and processor time is taken until the last has ended.
    """
    _warm_up(open_stream, url)
    readers = _Crowd(open_stream, f"{url}/e{args.chunks}/p{args.pace}/g1", args.streams)
    before, opening = _resident(), _cpu()
    readers.start()
    opening = _cpu() - opening
    time.sleep(0.2)  # let what opening left behind be freed
    resident = _resident()
    cpu, wall = _cpu(), time.perf_counter()
    urllib.request.urlopen(urllib.request.Request(f"{url}/release", method="POST", data=b"{}")).read()
    readers.join()
    cpu, wall = _cpu() - cpu, time.perf_counter() - wall
    count = sum(readers.texts) - len(readers.texts)  # the first of each came before
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "complete": readers.texts == [args.chunks] * args.streams,
        "failures": readers.failures[:3],
        "cpu_us": cpu / max(1, count) * 1e6,
        "wall_us": wall / max(1, count) * 1e6,
        "open_cpu_ms": opening / args.streams * 1e3,
        "kb": (resident - before) / args.streams / 1024,
        "peak_kb": (peak - before) / args.streams / 1024,
    }


TASKS: dict[str, Callable[[Open, str, argparse.Namespace], dict[str, Any]]] = {
    "stream": stream,
    "first_chunk": first_chunk,
    "crowd": crowd,
}


def main() -> None:
    """Do what the arguments say and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("client", choices=sorted(CLIENTS))
    parser.add_argument("task", choices=sorted(TASKS))
    parser.add_argument("url")
    parser.add_argument("--chunks", type=int, default=20_000)
    parser.add_argument("--streams", type=int, default=1)
    parser.add_argument("--pace", type=float, default=0.0)
    parser.add_argument("--trials", type=int, default=50)
    args = parser.parse_args()
    print(json.dumps(TASKS[args.task](CLIENTS[args.client](), args.url, args)), flush=True)


if __name__ == "__main__":
    main()
