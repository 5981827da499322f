"""What runs inside a TorchServe worker: an archive holds exactly this folder."""
