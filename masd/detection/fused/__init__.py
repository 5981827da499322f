"""The default system: several views of a clip, each with its own detector, fused into one score."""
