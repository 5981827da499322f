"""Commands about one model: ``train``, ``evaluate``, ``score``, ``benchmark``, ``archive``."""
