"""Kubeflow pipelines: train and gate every machine, watch for drift; compiled for a cluster or run here."""
