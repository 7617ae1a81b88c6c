"""Threads that wait for each other: waiters, pipes, timers, and what forks and late monkey patching need."""
