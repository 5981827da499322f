"""Clips as bytes, a running server for the slow tests, and one that can be made to fail."""

import io
import json
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from safetensors.numpy import load_file, save_file

from masd.bundle.bundle import CLIP_SECONDS, USUAL
from masd.bundle.manifest import load_manifest
from masd.config import Settings
from masd.files import sha256
from serving.archive import MODEL_CONFIG, archive
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


FAULTY_HANDLER = """
import time
from real_handler import ScoringHandler

class FaultyHandler(ScoringHandler):
    def initialize(self, context):
        super().initialize(context)
        decode = self._scorer.decode
        def decode_or_fail(clip):
            if clip == b"sleep":
                time.sleep(20)
            if clip == b"memory":
                raise MemoryError
            if clip == b"bug":
                raise ZeroDivisionError("a secret of the inside")
            return decode(clip)
        self._scorer.decode = decode_or_fail
"""
ONE_WORKER = {"minWorkers": 1, "maxWorkers": 1}
FAULTY_CONFIG = {**MODEL_CONFIG, **ONE_WORKER, "batchSize": 1, "responseTimeout": 3, "jobQueueSize": 2}
FAULTY_SETTINGS = [
    "audio.channel=5",
    "serving.refuse_silence_below_dbfs=-60",
    "serving.max_clip_seconds=20",
]


@pytest.fixture(scope="session")
def faulty_server(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server with narrow limits and an old model, which sleeps, runs out of memory or fails when a clip says so."""
    bundle = shutil.copytree(tiny_bundle, tmp_path_factory.mktemp("faulty") / "bundle")
    config = Settings.load(bundle / "config.yaml", FAULTY_SETTINGS)
    (bundle / "config.yaml").write_text(config.to_yaml(), encoding="utf-8")
    arrays = load_file(bundle / "detectors.safetensors")  # as they were before there were explanations
    old = {name: array for name, array in arrays.items() if not name.startswith(USUAL) and name != CLIP_SECONDS}
    save_file(old, bundle / "detectors.safetensors")
    manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    manifest["files"] |= {name: sha256(bundle / name) for name in ("config.yaml", "detectors.safetensors")}
    (bundle / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    mar = bundle / f"{load_manifest(bundle).machine_type}.mar"
    with zipfile.ZipFile(archive(bundle, bundle / "whole.zip")) as whole, zipfile.ZipFile(mar, "w") as faulty:
        changed = {"handler.py": FAULTY_HANDLER.encode(), "model-config.yaml": yaml.safe_dump(FAULTY_CONFIG).encode()}
        for name in whole.namelist():
            faulty.writestr(name, changed.get(name, whole.read(name)))
        faulty.writestr("real_handler.py", whole.read("handler.py"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("serving.health.watch.EVERY_SECONDS", 3600.0)  # a probe would take one of the two places
        with running_server([bundle]) as running:
            yield running
