"""The convolutional auto-encoder, its three losses, its batches and its two-stage training."""
