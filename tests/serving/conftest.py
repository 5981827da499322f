"""Clips as bytes, and a running server for the slow tests."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from serving.server import RunningServer, running_server

MakeWav = Callable[..., bytes]


def _wav(seconds: float = 3.0, rate: int = 16_000, seed: int = 0, level: float = 0.1) -> bytes:
    samples = np.random.default_rng(seed).normal(scale=level, size=int(seconds * rate)).clip(-1.0, 1.0)
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


@pytest.fixture(scope="session")
def wav() -> MakeWav:
    """``wav(seconds, rate, seed, level)``: white noise as an encoded clip."""
    return _wav


@pytest.fixture(scope="session")
def log_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The inference log of :func:`server`."""
    return tmp_path_factory.mktemp("log")


@pytest.fixture(scope="session")
def server(tiny_bundle: Path, log_folder: Path) -> Iterator[RunningServer]:
    """One real TorchServe with ``tiny_bundle``, for all slow tests."""
    with running_server([tiny_bundle], log_folder=log_folder) as running:
        yield running
