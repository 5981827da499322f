"""Clip tables from folders, the log-mel store on disk, and simulated machines."""
