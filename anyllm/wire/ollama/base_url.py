"""Where an Ollama server answers, as ``OLLAMA_HOST`` says it."""

from __future__ import annotations

from urllib.parse import urlsplit

#: Where the server listens unless it is told otherwise.
_ADDRESS, _PORT = "127.0.0.1", 11434
#: A whole URL says its port by its scheme, as URLs do; anything less means Ollama's.
_PORTS = {"http": 80, "https": 443}


def host_url(text: str) -> str:
    """
    The base URL that a value of ``OLLAMA_HOST`` means: a scheme, a host and a port, with the path if it has one.

    Args:
        text: "", a host, ":port", "host:port", or a URL. What it leaves out is ``http``, 127.0.0.1 and 11434; the
            port of a URL is that of its scheme.

    Returns:
        The URL without a slash at its end.

    Raises:
        ValueError: the port is no number from 0 to 65535, or the brackets of an IPv6 address do not match.

    Source: https://docs.ollama.com/faq (OLLAMA_HOST), and the official Python client, which reads it the same way.
    """
    scheme, _, rest = text.partition("://")
    if not rest:
        scheme, rest, default = "http", text, _PORT
    else:
        default = _PORTS.get(scheme, _PORT)
    parts = urlsplit(f"{scheme}://{rest}")
    host = parts.hostname or _ADDRESS
    if ":" in host:
        host = f"[{host}]"
    path = parts.path.strip("/")
    return f"{scheme}://{host}:{parts.port or default}" + (f"/{path}" if path else "")
