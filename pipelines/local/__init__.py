"""Pipelines on this computer, in processes or containers."""
