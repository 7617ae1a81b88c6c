"""Servers that users run themselves, with OpenAI's chat completions."""

from __future__ import annotations

from anyllm.providers.table.row import Row
from anyllm.providers.table.row_builders import CONTINUE_FINAL, LAST_MESSAGE, VECTORS, chat

__all__ = ["ROWS"]

ROWS: tuple[Row, ...] = (
    chat(
        "vllm",
        "http://localhost:8000/v1",
        ("VLLM_API_KEY",),
        ("VLLM_API_BASE", "VLLM_BASE_URL"),
        key_required=False,
        capabilities=VECTORS,
        reasoning_key="reasoning",
        no_thinking={"chat_template_kwargs": {"enable_thinking": False}},
        note="`chat_template_kwargs.enable_thinking` turns reasoning off",
        prefill=CONTINUE_FINAL,
    ),
    chat(
        "llama_cpp",
        "http://127.0.0.1:8080/v1",
        ("LLAMACPP_API_KEY",),
        ("LLAMACPP_API_BASE",),
        aliases=("llamacpp", "llama.cpp"),
        key_required=False,
        capabilities=VECTORS,
        note="timings are in `raw`",
        prefill=LAST_MESSAGE,
    ),
    chat(
        "llamafile",
        "http://127.0.0.1:8080/v1",
        (),
        ("LLAMAFILE_API_BASE",),
        key_required=False,
        capabilities=VECTORS,
        unverified=True,
    ),
    chat(
        "lm_studio",
        "http://localhost:1234/v1",
        ("LM_STUDIO_API_KEY",),
        ("LM_STUDIO_API_BASE",),
        aliases=("lmstudio",),
        key_required=False,
        capabilities=VECTORS,
        unverified=True,
    ),
    chat(
        "xinference",
        "http://localhost:9997/v1",
        ("XINFERENCE_API_KEY",),
        ("XINFERENCE_BASE_URL",),
        key_required=False,
        capabilities=VECTORS,
        unverified=True,
    ),
    chat("gpustack", None, ("GPUSTACK_API_KEY",), ("GPUSTACK_BASE_URL",), key_required=False, capabilities=VECTORS),
)
