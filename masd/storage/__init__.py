"""Object stores, in a folder or a bucket: the protocol, its implementations, a cache and locks."""
