"""Stream from Starlette: run it (with uvicorn), then `curl -N "http://127.0.0.1:8000/ask?q=Hello"`. Ctrl-C cancels."""

import os

from starlette.applications import Starlette
from starlette.responses import StreamingResponse
from starlette.routing import Route

import anyllm
from anyllm import asgi


async def ask(request):
    stream = anyllm.completion_stream(
        anyllm.Context(timeout=120),
        anyllm.CompletionParams(
            model=os.environ.get("ANYLLM_MODEL", "local/smollm2"),
            messages=[anyllm.Message.user(request.query_params.get("q", "Hello"))],
            max_tokens=300,
        ),
    )
    return StreamingResponse(*await asgi.answer(stream))  # an error before the first content has its own status


app = Starlette(routes=[Route("/ask", ask)])

if __name__ == "__main__":
    import uvicorn

    uvicorn.run(app, port=8000)
