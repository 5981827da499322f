"""Commands that keep running: ``serve`` and ``agent``."""
