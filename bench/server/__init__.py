"""A whole server under load and under faults."""
