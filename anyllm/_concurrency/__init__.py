"""Concurrency primitives: waiters, pipes, timers, clocks, and support for forks and late monkey patching."""
