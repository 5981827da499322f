"""Commands about recordings: ``simulate``, ``data``, ``dataset``."""
