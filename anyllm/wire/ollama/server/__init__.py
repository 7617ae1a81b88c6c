"""The server's side of Ollama's own API: what a client asks, and what it reads."""
