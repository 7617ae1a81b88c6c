"""The server's side of Anthropic's Messages: what a client asks, and what it reads."""
