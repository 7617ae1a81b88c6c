"""The pump: one worker thread a call, from the specification of the call to the pair that the caller reads."""
