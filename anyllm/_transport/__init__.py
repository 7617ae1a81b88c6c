"""The only place that opens sockets: requests, made cancellable, and what goes over it in the log."""
