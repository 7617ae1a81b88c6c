"""Streams in async code: chunks and bytes in coroutines, and responses of Starlette and FastAPI under uvicorn."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import http.client
import json
import re
import socket
import threading
from typing import Any, Callable, Iterator, List

import pytest
from test_wsgi import DONE, KEY, NEVER, ROOT, SOON, Pair, ask, next_event, open_events, piece

import anyllm
from anyllm import asgi, errors, wsgi
from anyllm.testing import Cut, Reply, Stall, chat_events, fake, serve

TIMEOUT = 15


def run(main: Any) -> Any:
    """A coroutine, in a fresh loop and with a limit."""

    async def limited() -> Any:
        return await asyncio.wait_for(main, TIMEOUT)

    return asyncio.run(limited())


async def everything(items: Any) -> List[Any]:
    return [item async for item in items]


# -- chunks ------------------------------------------------------------------------------------------------------------


def test_chunks_come_while_the_model_speaks():
    """The model says its second piece only once the coroutine has the first."""
    go = threading.Event()

    async def main(url: str) -> None:
        chunks = asgi.iterate(ask(url))
        texts = []
        async for chunk in chunks:
            texts.append(chunk.content)
            if "one" in texts:
                go.set()
        assert "".join(texts) == "one two"

    with serve(Reply.sse([*open_events("one"), Stall(go), *chat_events([" two"], role=False)])) as upstream:
        run(main(upstream.url))


def test_the_error_comes_after_all_chunks():
    async def main(url: str) -> None:
        chunks = asgi.iterate(ask(url))
        text = ""
        while "one" not in text:
            text += (await chunks.__anext__()).content
        with pytest.raises(errors.IncompleteStreamError):
            await chunks.__anext__()
        assert await everything(chunks) == []

    with serve(Reply.sse([*open_events("one"), Cut("eof")])) as upstream:
        run(main(upstream.url))


def test_the_stream_of_a_client_is_read_on_a_thread():
    client = anyllm.Client("any", provider=fake("Hello there"))
    chunks = run(everything(asgi.iterate(client.chat_stream("Hi"))))
    assert "".join(chunk.content for chunk in chunks) == "Hello there"
    body = b"".join(run(everything(asgi.body(client.chat_stream("Hi"), "text"))))
    assert body == b"Hello there"


def _cancel(task: Any, chunks: Any) -> None:
    task.cancel()


def _close(task: Any, chunks: Any) -> None:
    task.cancel()
    asyncio.ensure_future(chunks.aclose())  # noqa: RUF006


@pytest.mark.parametrize("end", [_cancel, _close])
@pytest.mark.parametrize("make", [asgi.iterate, lambda stream: asgi.body(stream, keep_alive=NEVER)])
def test_a_cancelled_task_ends_its_stream(make: Any, end: Any):
    """The model is silent, so that nothing else could."""

    async def main(upstream: Any) -> None:
        first = asyncio.Event()
        chunks = make(ask(upstream.url))

        async def read() -> None:
            async for item in chunks:
                if "one" in str(getattr(item, "content", item)):
                    first.set()

        task = asyncio.ensure_future(read())
        await first.wait()
        end(task, chunks)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(upstream.wait_closed, TIMEOUT)

    with serve(Reply.sse([*open_events("one"), Stall()])) as upstream:
        run(main(upstream))


@pytest.mark.parametrize("make", [asgi.iterate, asgi.body])
def test_dropping_the_iterator_ends_the_stream(make: Any):
    """Without a loop that runs, and without the garbage collector."""

    async def first(items: Any) -> None:
        await items.__anext__()

    gc.disable()
    try:
        with serve(Reply.sse([*open_events("one"), Stall()])) as upstream:
            items = make(ask(upstream.url))
            run(first(items))
            del items
            assert upstream.wait_closed(TIMEOUT)
    finally:
        gc.enable()


def test_no_thread_waits_for_a_stream():
    """The workers are all that there is, and they are ours: one for each call."""
    count = 20

    async def main(upstream: Any) -> None:
        tasks = [asyncio.ensure_future(everything(asgi.iterate(ask(upstream.url)))) for _ in range(count)]
        await asyncio.to_thread(upstream.wait_for_requests, count, TIMEOUT)  # which starts a thread
        theirs = ("MainThread", "anyllm-testing", "anyllm-timer", "asyncio_", "pytest", "execnet")
        ours = [thread.name for thread in threading.enumerate() if not thread.name.startswith(theirs)]
        assert ours == ["anyllm-call"] * count
        go.set()
        for chunks in await asyncio.gather(*tasks):
            assert "".join(chunk.content for chunk in chunks) == "one two"

    go = threading.Event()
    with serve(Reply.sse([*open_events("one"), Stall(go), *chat_events([" two"], role=False)])) as upstream:
        run(main(upstream))


def test_chunks_that_wait_already_leave_the_loop_to_others():
    async def main() -> None:
        pair = Pair()
        for _ in range(16):
            pair.sender.put(piece("x"))
        turns: List[str] = []

        async def read() -> None:
            async for _ in asgi.iterate(pair):
                turns.append("turn")  # noqa: PERF401  # each when it comes

        async def other() -> None:
            for _ in range(5):
                turns.append("other")
                await asyncio.sleep(0)

        reading = asyncio.ensure_future(read())
        await other()
        assert turns.count("turn") < 16
        pair.end()
        await reading

    run(main())


@pytest.mark.parametrize("make", [asgi.iterate, asgi.body])
@pytest.mark.parametrize("stream", [["one"], iter(["one"])])
def test_sources_that_cannot_be_waited_for_are_refused(make: Any, stream: Any):
    with pytest.raises(TypeError, match="cannot be waited for"):
        make(stream)


def test_a_loop_that_is_closed_is_woken_for_nothing():
    """The channel's line still has what waited there; the worker goes on."""
    pair = Pair()

    async def main() -> None:
        task = asyncio.ensure_future(everything(asgi.iterate(pair)))
        await asyncio.sleep(0.01)
        loop = asyncio.get_running_loop()
        loop.call_soon(loop.stop)
        with contextlib.suppress(asyncio.CancelledError):
            await task

    loop = asyncio.new_event_loop()
    task = loop.create_task(main())
    with contextlib.suppress(RuntimeError):
        loop.run_until_complete(task)
    loop.close()
    assert pair.sender.put(piece("one"))
    pair.end()
    del task
    gc.collect()


# -- bytes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["sse", "ndjson", "json", "text", "openai", "anthropic", "ollama", "gemini"])
def test_the_bytes_are_those_of_wsgi(format: str):
    # Without times and ids of our own.
    script = Reply.sse(chat_events(["Hé\nllo", " you"]))
    with serve(script) as upstream:
        plain = b"".join(wsgi.body(ask(upstream.url), format))
        ours = b"".join(run(everything(asgi.body(ask(upstream.url), format))))
    assert _without_ids(ours) == _without_ids(plain)


def _without_ids(written: bytes) -> bytes:
    return re.sub(rb'"(id|created_at|message_id|responseId)":\s*"[^"]*"|"\w*duration":\d+', b"", written)


def test_an_error_is_the_last_event():
    with serve(Reply.sse([*open_events("one"), Cut("eof")])) as upstream:
        *_, last = run(everything(asgi.body(ask(upstream.url))))
    assert last.startswith(b"event: error\n")
    assert json.loads(last.split(b"data: ")[1])["error"]["type"] == "ConnectionLostError"


def test_a_task_that_is_woken_without_an_item_waits_again():
    """The item that it was woken for may have been taken before it stood in line."""

    async def main() -> None:
        pair = Pair()
        body = asgi.body(pair, "text")
        task = asyncio.ensure_future(body.__anext__())
        await asyncio.sleep(0)
        for _ in range(3):
            while not pair.chunks._pipes[0].receivers:
                await asyncio.sleep(0)
            assert not task.done()
            pair.chunks._pipes[0].receivers.popleft().release()
            await asyncio.sleep(0)
        pair.sender.put(piece("one"))
        assert await task == b"one"
        pair.end()

    run(main())


def test_a_silence_is_broken():
    async def main(url: str) -> None:
        body = asgi.body(ask(url), keep_alive=SOON)
        assert await body.__anext__() == b": keep-alive\n\n"
        await body.aclose()  # type: ignore[attr-defined]
        assert await everything(body) == []

    with serve(Reply.sse([Stall()])) as upstream:
        run(main(upstream.url))
        assert upstream.wait_closed(TIMEOUT)


def test_an_answer_has_the_status_of_its_error():
    with serve(Reply.json({"error": {"message": "slow down"}}, 429, headers={"Retry-After": "6.5"})) as upstream:
        response = run(asgi.answer(ask(upstream.url)))
        assert (response.status, response.headers["Retry-After"]) == (429, "7")
        [written] = run(everything(response.body))
    assert json.loads(written)["error"]["type"] == "RateLimitError"


def test_an_answer_loses_nothing_of_its_first_content():
    async def main(url: str) -> None:
        response = await asgi.answer(ask(url), "text")
        assert (response.status, response.headers) == (200, asgi.headers("text"))
        assert b"".join(await everything(response.body)) == b"one two"

    with serve(Reply.sse(chat_events(["one", " two"]))) as upstream:
        run(main(upstream.url))


def test_an_answer_waits_only_so_long():
    async def main(url: str) -> None:
        response = await asgi.answer(ask(url), keep_alive=SOON)
        assert response.status == 200
        assert await response.body.__anext__() == b": keep-alive\n\n"

    with serve(Reply.sse([Stall()])) as upstream:
        run(main(upstream.url))
        assert upstream.wait_closed(TIMEOUT)


def test_a_cancelled_answer_ends_its_stream():
    async def main(upstream: Any) -> None:
        task = asyncio.ensure_future(asgi.answer(ask(upstream.url), first_content_timeout=None))
        await asyncio.to_thread(upstream.wait_for_requests, 1, TIMEOUT)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with serve(Reply.sse([Stall()])) as upstream:
        run(main(upstream))
        assert upstream.wait_closed(TIMEOUT)


# -- frameworks --------------------------------------------------------------------------------------------------------


def in_starlette(stream: Callable[[], Any], **options: Any) -> Any:
    pytest.importorskip("starlette")
    from starlette.applications import Starlette
    from starlette.responses import StreamingResponse
    from starlette.routing import Route

    async def endpoint(_: Any) -> Any:
        return StreamingResponse(asgi.body(stream(), **options), headers=asgi.headers())

    return Starlette(routes=[Route("/", endpoint)])


def in_starlette_with_a_status(stream: Callable[[], Any], **options: Any) -> Any:
    pytest.importorskip("starlette")
    from starlette.applications import Starlette
    from starlette.responses import StreamingResponse
    from starlette.routing import Route

    async def endpoint(_: Any) -> Any:
        return StreamingResponse(*await asgi.answer(stream(), first_content_timeout=SOON, **options))

    return Starlette(routes=[Route("/", endpoint)])


def in_fastapi(stream: Callable[[], Any], **options: Any) -> Any:
    fastapi = pytest.importorskip("fastapi")
    from fastapi.responses import StreamingResponse

    app = fastapi.FastAPI()

    @app.get("/")
    async def endpoint() -> Any:
        return StreamingResponse(asgi.body(stream(), **options), headers=asgi.headers())

    return app


FRAMEWORKS = [in_starlette, in_starlette_with_a_status, in_fastapi]


@contextlib.contextmanager
def uvicorn_server(app: Any) -> Iterator[int]:
    uvicorn = pytest.importorskip("uvicorn")
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(TIMEOUT)
        listening.close()


@contextlib.contextmanager
def client(port: int, path: str = "/") -> Iterator[http.client.HTTPResponse]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    with contextlib.closing(connection):
        connection.request("GET", path)
        with contextlib.closing(connection.getresponse()) as response:
            yield response


@pytest.mark.parametrize("make", FRAMEWORKS)
def test_each_piece_arrives_before_the_next_is_sent(make: Any):
    go = threading.Event()
    with (
        serve(Reply.sse([*open_events("öne"), Stall(go), *chat_events([" two"], role=False)])) as upstream,
        uvicorn_server(make(lambda: ask(upstream.url))) as port,
        client(port) as response,
    ):
        assert response.status == 200
        for name, value in asgi.headers().items():
            assert response.headers[name] == value
        assert next_event(response) == ("", {"content": "öne"})
        go.set()
        assert next_event(response) == ("", {"content": " two"})
        assert next_event(response) == DONE
    assert anyllm.active_streams() == 0


@pytest.mark.parametrize("make", FRAMEWORKS)
@pytest.mark.parametrize("words", [(), ("one",)])
def test_a_client_that_leaves_ends_the_call(make: Any, words: Any):
    """The model is silent and so are we: the next sign of life is an hour away."""
    streams: List[anyllm.Stream] = []

    def stream() -> anyllm.Stream:
        streams.append(ask(upstream.url))
        return streams[-1]

    gc.disable()
    try:
        with (
            serve(Reply.sse([*open_events(*words), Stall()])) as upstream,
            uvicorn_server(make(stream, keep_alive=NEVER)) as port,
        ):
            with socket.create_connection(("127.0.0.1", port), TIMEOUT) as leaving:
                leaving.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
                upstream.wait_for_requests(1, TIMEOUT)
                head = leaving.recv(4096) if words else b""
                while words and b"one" not in head:
                    head += leaving.recv(4096)
            assert upstream.wait_closed(TIMEOUT)
            error = streams[0].errors.get(timeout=TIMEOUT)
            assert isinstance(error, errors.Cancelled)
    finally:
        gc.enable()


def test_a_server_that_says_only_on_sending_that_the_client_left_ends_the_call():
    """As ASGI 2.4 allows: Starlette then listens for nothing else."""

    async def main(upstream: Any) -> None:
        async def receive() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.body":
                raise OSError("the client has left")

        scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b"", "root_path": ""}
        scope["asgi"] = {"version": "3.0", "spec_version": "2.4"}
        app = in_starlette(lambda: ask(upstream.url))
        with contextlib.suppress(Exception):  # Starlette's ClientDisconnect
            await app(scope, receive, send)

    with serve(Reply.sse([*open_events("one"), Stall()])) as upstream:
        run(main(upstream))
        assert upstream.wait_closed(TIMEOUT)


def test_the_example_streams():
    pytest.importorskip("starlette")
    go = threading.Event()
    with (
        serve(Reply.sse([*open_events("one"), Stall(go), *chat_events([" two"], role=False)])) as upstream,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.syspath_prepend(ROOT / "examples")
        patch.setenv("ANYLLM_MODEL", "openai/gpt-4o-mini")
        patch.setenv("OPENAI_API_KEY", KEY)
        patch.setenv("OPENAI_BASE_URL", upstream.url)
        import starlette_stream

        with uvicorn_server(starlette_stream.app) as port, client(port, "/ask?q=Why%3F") as response:
            assert next_event(response) == ("", {"content": "one"})
            go.set()
            assert next_event(response) == ("", {"content": " two"})
            assert next_event(response) == DONE
        assert upstream.requests[0].json()["messages"][0]["content"] == "Why?"


def test_an_error_before_the_first_word_has_its_status():
    with (
        serve(Reply.json({"error": {"message": f"bad {KEY}"}}, 401)) as upstream,
        uvicorn_server(_with_answer(lambda: ask(upstream.url))) as port,
        client(port) as response,
    ):
        assert response.status == 502
        assert json.loads(response.read())["error"]["type"] == "AuthenticationError"


def _with_answer(stream: Callable[[], Any]) -> Any:
    pytest.importorskip("starlette")
    from starlette.applications import Starlette
    from starlette.responses import StreamingResponse
    from starlette.routing import Route

    async def endpoint(_: Any) -> Any:
        return StreamingResponse(*await asgi.answer(stream()))

    return Starlette(routes=[Route("/", endpoint)])


def test_a_call_on_a_thread_ends_with_its_task():
    """As the page about async code has it."""

    async def main(upstream: Any) -> None:
        client = anyllm.Client("compatible/m", base_url=upstream.url, api_key=KEY)

        async def question() -> Any:
            with anyllm.Context(timeout=60) as ctx:
                return await asyncio.to_thread(client.chat, "Hello", ctx=ctx)

        task = asyncio.ensure_future(question())
        await asyncio.to_thread(upstream.wait_for_requests, 1, TIMEOUT)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(upstream.wait_closed, TIMEOUT)

    with serve(Reply.sse([Stall()])) as upstream:
        run(main(upstream))
