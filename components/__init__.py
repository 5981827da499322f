"""Kubeflow components: one folder each; every component calls one function of masd."""
