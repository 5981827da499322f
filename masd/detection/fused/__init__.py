"""The default system: several views of a clip, each with a detector of its own, fused into one score."""
