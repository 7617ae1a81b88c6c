"""The pump: one worker thread for each call, from the call's specification to the channels that the caller reads."""
