"""The registry of versions: pointers, the audit trail, and what checks, compares and removes versions."""
