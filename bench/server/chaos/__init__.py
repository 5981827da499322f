"""``make chaos``: ten machines in one server while everything around them fails, one fault after the other."""
