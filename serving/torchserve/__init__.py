"""TorchServe: its process, its configuration, its management API, and whether it answers."""
