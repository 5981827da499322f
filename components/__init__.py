"""Kubeflow components: a folder each, every one a thin shell around one function of masd."""
