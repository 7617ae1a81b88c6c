"""Wire formats, one package each, in both directions: plain values in and out. No sockets, no threads, no clock."""
