"""The front: the listener that checks tokens and passes requests on to TorchServe."""
