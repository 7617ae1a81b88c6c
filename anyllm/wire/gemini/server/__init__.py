"""The server's side of Google's ``generateContent``: what a client asks, and what it reads."""
