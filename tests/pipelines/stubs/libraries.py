"""Stubs import nothing that takes long."""
