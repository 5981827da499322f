"""Options that several commands share."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from masd.cli.numbers import seed as seed_number
from masd.config import Settings
from masd.errors import MasdError

WORK_FAILED, REFUSED_OR_DRIFT = 1, 3
"""Exit codes besides 0 and argparse's 2; a shell or a CI job can branch on them."""


def add_settings(command: argparse.ArgumentParser, *, seed: bool = True) -> None:
    """``--config``, ``--set`` and, for commands of one seed, ``--seed``."""
    command.add_argument(
        "--config", type=Path, metavar="FILE", help="settings in YAML; settings that are left out have their defaults"
    )
    command.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        dest="overrides",
        metavar="SECTION.KEY=VALUE",
        help="override one setting, for example training.stage1_steps=20",
    )
    if seed:
        command.add_argument("--seed", type=seed_number, help="seed of everything random (default 0)")


def settings_from(options: argparse.Namespace) -> Settings:
    """:raises MasdError: settings that cannot be read or are out of range."""
    overrides = list(options.overrides)
    if getattr(options, "seed", None) is not None:
        overrides.append(f"seed={options.seed}")
    return Settings.load(options.config, overrides)


def names(text: str) -> list[str]:
    """``"fan,valve"`` -> ``["fan", "valve"]``, for ``--machines``."""
    found = [name.strip() for name in text.split(",") if name.strip()]
    if not found:
        raise argparse.ArgumentTypeError("expected names separated by commas")
    return found


@contextmanager
def needs(extra: str) -> Iterator[None]:
    """Around imports that an extra of the package brings.

    :raises MasdError: the extra is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise MasdError(f"this command needs {error.name}: pip install 'masd[{extra}]'") from error
