"""Compile the pipelines for a cluster; ``python -m pipelines.compile`` renews the tests' golden files."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from components.base import IMAGE
from masd.config import Settings
from masd.progress import print_line
from pipelines.local.process import Say
from pipelines.monitoring import monitoring_pipeline
from pipelines.placement import by_digest, on_cluster
from pipelines.training import training_pipeline

GOLDEN = Path(__file__).parent / "golden"
GOLDEN_IMAGE = f"masd/pipeline@sha256:{0:064}"


def compile_pipelines(
    out: Path,
    settings: Settings,
    *,
    image: str | None = None,
    volume: str = "masd",
    gpu: bool = True,
    say: Say = print_line,
) -> list[Path]:
    """Write ``training.yaml`` and ``monitoring.yaml`` below ``out``; returns their paths.

    :param settings: the default settings of the pipelines; ``training.scope`` decides their shape.
    :param image: image of all tasks, best by digest; default ``MASD_IMAGE`` of the environment.
    :param volume: the claim with recordings, logs and registry, see :func:`~pipelines.placement.on_cluster`.
    :param gpu: whether training asks for a GPU.
    :param say: called with a warning if ``image`` is not named by digest, so that no task is cached.
    """
    from kfp.compiler import Compiler

    if not by_digest(image or IMAGE):
        say(
            f"warning: image {image or IMAGE} is not named by digest, so no task uses Kubeflow's cache; "
            "set MASD_IMAGE to repository@sha256:..."
        )
    out.mkdir(parents=True, exist_ok=True)
    place = on_cluster(image=image, volume=volume, gpu=gpu)
    with _stacks_without_source():
        pipelines = {
            "training": training_pipeline(settings, place),
            "monitoring": monitoring_pipeline(settings, place),
        }
    with TemporaryDirectory(prefix=".compiled.", dir=out) as staged:
        for name, pipeline in pipelines.items():
            Compiler().compile(pipeline, f"{staged}/{name}.yaml")
        return [Path(staged, f"{name}.yaml").replace(out / f"{name}.yaml") for name in pipelines]


@contextmanager
def _stacks_without_source() -> Iterator[None]:
    """Each setting of a task asks for its caller's name by ``inspect.stack``, which searches all loaded modules for the
    source of every frame: nine tenths of the time of a compilation with kfp 2.17. The name needs no source.
    """
    whole = inspect.stack
    inspect.stack = partial(whole, 0)
    try:
        yield
    finally:
        inspect.stack = whole


def compile_golden(out: Path = GOLDEN) -> list[Path]:
    """Compile both scopes for the golden files: a folder per scope."""
    paths = []
    for scope in ("machine", "fleet"):
        settings = Settings.load(overrides=[f"training.scope={scope}"])
        paths += compile_pipelines(out / scope, settings, image=GOLDEN_IMAGE)
    return paths


if __name__ == "__main__":
    for path in compile_golden():
        print(path)
