"""The server's side of OpenAI's Responses: what a client asks, and what it reads."""
