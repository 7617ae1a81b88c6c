"""The base URL of an Ollama server, from a value of ``OLLAMA_HOST``."""

from __future__ import annotations

from urllib.parse import urlsplit

#: The server's default address.
_ADDRESS, _PORT = "127.0.0.1", 11434
#: The default ports of whole URLs; without a scheme, it is Ollama's.
_PORTS = {"http": 80, "https": 443}


def host_url(text: str) -> str:
    """
    The base URL: a scheme, a host and a port, with the path if it has one, and without a slash at its end.

    Args:
        text: "", a host, ":port", "host:port", or a URL. The defaults are ``http``, 127.0.0.1 and 11434.

    Raises:
        ValueError: the port is no number from 0 to 65535, or the brackets of an IPv6 address do not match.

    Source: https://docs.ollama.com/faq (OLLAMA_HOST), and the official Python client, which reads it the same way.
    """
    scheme, _, rest = text.partition("://")
    default = _PORTS.get(scheme, _PORT) if rest else _PORT
    scheme, rest = (scheme, rest) if rest else ("http", text)
    parts = urlsplit(f"{scheme}://{rest}")
    host = parts.hostname or _ADDRESS
    if ":" in host:
        host = f"[{host}]"
    path = parts.path.strip("/")
    return f"{scheme}://{host}:{parts.port or default}" + (f"/{path}" if path else "")
