"""Whether what serves still answers, and what is said of it."""
