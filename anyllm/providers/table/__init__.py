"""Who hosts models: one row for each provider. A quirk is a switch of its row; only a new wire format is new code."""
