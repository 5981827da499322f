"""Checks of recordings before training."""
