"""Who hosts models: the table of hosts, and what a host needs beyond a row."""
