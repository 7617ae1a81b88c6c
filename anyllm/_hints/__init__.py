"""Words for error messages: what to write, import or install instead of what was tried."""
