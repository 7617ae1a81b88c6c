"""The server's side of OpenAI's chat completions: what a client asks, and what it reads."""
