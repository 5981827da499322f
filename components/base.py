"""What all components share: the image they run in and how they are declared."""

import os
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from kfp import dsl

IMAGE = os.environ.get("MASD_IMAGE", f"masd/pipeline:{version('masd')}")
"""The image of every component, read when a pipeline is compiled. For a cluster set ``MASD_IMAGE`` to a
digest (``repository@sha256:...``): a tag can be moved under a compiled pipeline."""


def component(function: Callable[..., Any]) -> Any:
    """Declare a lightweight component that runs in :data:`IMAGE` with what is installed there.

    Lightweight, because only that kind also runs as a plain process (``kfp.local.SubprocessRunner``). kfp
    ships the function's source text to the task, so its imports stand in its body.
    """
    return dsl.component(base_image=IMAGE, install_kfp_package=False)(function)
