"""What several wire formats share, written once; no wire format imports another."""
