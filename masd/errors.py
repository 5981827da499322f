"""The one exception that is meant for a person."""


class MasdError(Exception):
    """Work that cannot go on: the message is one line that names what was wrong, where, and what to do."""
