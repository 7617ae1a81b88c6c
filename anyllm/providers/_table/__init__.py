"""Who hosts models: one row a host."""
