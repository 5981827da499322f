"""Machine anomalous sound detection."""
