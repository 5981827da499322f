"""What a clip has in common with the training clips, and what of it cannot be compared with them."""
