"""The simulated machines, one file each."""
