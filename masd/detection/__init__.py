"""From embeddings and reconstruction errors to a score, a decision and a reason."""
