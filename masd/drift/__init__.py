"""Drift: compare an inference log with the training clips of a model."""
