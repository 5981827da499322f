"""What each member of the default detector contributes, by synthetic faults."""
