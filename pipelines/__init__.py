"""Kubeflow pipelines: train and gate every machine, check for drift; compiled for a cluster or run on this computer."""
