"""The transport: HTTP requests that other threads can abort, and their log. Nothing else opens sockets."""
