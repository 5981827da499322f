from components.fingerprint.component import fingerprint

__all__ = ["fingerprint"]
