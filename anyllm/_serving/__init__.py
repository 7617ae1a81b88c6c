"""Web responses for streams: their bodies, sources and errors, and the formats for browsers."""
