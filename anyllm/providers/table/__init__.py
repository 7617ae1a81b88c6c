"""The provider table: a row for each provider. A quirk is a switch in its row; only a new wire format is new code."""
