"""The ``masd`` command."""
