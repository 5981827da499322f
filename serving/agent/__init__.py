"""The model agent: one TorchServe follows the production pointers of a registry."""
