"""Check the name of a machine type."""

import re

from masd.errors import MasdError

MACHINE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def check_machine_name(name: str) -> str:
    """:raises MasdError: the name cannot be a folder name, a part of a URL and a model name."""
    if not MACHINE_NAME.fullmatch(name):
        raise MasdError(
            f"machine type {name!r}: use letters, digits, '-', '_' and '.', at most 64, first a letter or digit"
        )
    return name
