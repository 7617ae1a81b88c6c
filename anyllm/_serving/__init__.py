"""Web responses made of streams: their bodies, their sources, and what visitors of a page read."""
