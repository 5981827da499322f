"""Check the name of a machine type."""

import re

from masd.errors import MasdError

MACHINE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def check_machine_name(name: str) -> str:
    """:raises MasdError: a name that could not be a folder, a URL part and a model name alike."""
    if not MACHINE_NAME.fullmatch(name):
        raise MasdError(
            f"machine type {name!r}: use letters, digits, '-', '_' and '.', at most 64, first a letter or digit"
        )
    return name
