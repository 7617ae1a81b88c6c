"""Streams in coroutines: chunks while they come, cancelled tasks, and the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
from typing import Any, List

import pytest
from sites import KEY, NEVER, Pair, ask, begun, held, in_fastapi_body, piece

import anyllm
from anyllm import asgi, errors
from anyllm.testing import Cut, Reply, Stall, fake, serve

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

    with serve(held(go)) as upstream:
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

    with serve(begun("one", end=Cut("eof"))) as upstream:
        run(main(upstream.url))


def test_the_stream_of_a_client_is_read_on_a_thread():
    client = anyllm.Client("any", provider=fake("Hello there"))
    chunks = run(everything(asgi.iterate(client.chat_stream("Hi"))))
    assert "".join(chunk.content for chunk in chunks) == "Hello there"


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

    with serve(begun("one")) as upstream:
        run(main(upstream))


@pytest.mark.parametrize("make", [asgi.iterate, asgi.body])
def test_dropping_the_iterator_ends_the_stream(make: Any):
    """Without a loop that runs, and without the garbage collector."""

    async def first(items: Any) -> None:
        await items.__anext__()

    gc.disable()
    try:
        with serve(begun("one")) as upstream:
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
        theirs = ("MainThread", "anyllm-testing", "anyllm-timer", "anyllm-loop", "asyncio_", "pytest", "execnet")
        ours = [thread.name for thread in threading.enumerate() if not thread.name.startswith(theirs)]
        assert ours == ["anyllm-call"] * count
        go.set()
        for chunks in await asyncio.gather(*tasks):
            assert "".join(chunk.content for chunk in chunks) == "one two"

    go = threading.Event()
    with serve(held(go)) as upstream:
        run(main(upstream))


def test_chunks_that_wait_already_leave_the_loop_to_others():
    async def main() -> None:
        pair = Pair(*[piece("x")] * 16)
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


def test_a_task_that_is_woken_without_an_item_waits_again():
    """The item that it was woken for may have been taken before it stood in line."""

    async def main() -> None:
        pair = Pair()
        body = asgi.body(pair, "text")
        task = asyncio.ensure_future(body.__anext__())
        await asyncio.sleep(0)
        for _ in range(3):
            while not pair.chunks._pipe.receivers:
                await asyncio.sleep(0)
            assert not task.done()
            pair.chunks._pipe.receivers.popleft().release()
            await asyncio.sleep(0)
        pair.sender.put(piece("one"))
        assert await task == b"one"
        pair.end()

    run(main())


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
        app = in_fastapi_body(lambda: ask(upstream.url))
        with contextlib.suppress(Exception):  # Starlette's ClientDisconnect
            await app(scope, receive, send)

    with serve(begun("one")) as upstream:
        run(main(upstream))
        assert upstream.wait_closed(TIMEOUT)


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
