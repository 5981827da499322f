"""Drift: an inference log compared with what a model was trained on."""
