"""Bundles, the registry, drift, and the steps that pipelines are made of."""
