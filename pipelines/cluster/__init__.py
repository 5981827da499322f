"""Pipelines on a Kubeflow cluster."""
