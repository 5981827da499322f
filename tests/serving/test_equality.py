"""Online is offline: whichever way a clip is sent, its score is the one ``masd score`` prints for the same file."""

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
from raw_http import machine_of, post, post_json

from masd.config import Settings
from masd.lifecycle import steps
from serving.client.grpc import GrpcScoringClient
from serving.server import RunningServer, running_server

pytestmark = pytest.mark.slow

RATE = 16_000
TOLERANCE = 1e-5
NUMBERS = ("score", "threshold", "duration_s", "reconstruction_error")


@pytest.fixture(scope="module")
def bundle(recordings: Path, tiny_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of the real slider with all the default sizes but of the network, trained for two epochs."""
    out = tmp_path_factory.mktemp("slider")
    steps.featurize(recordings, ["slider"], tiny_settings, out / "features")
    steps.train(out / "features", ["slider"], tiny_settings, out / "network", device="cpu")
    steps.fit_detectors(out / "features", "slider", out / "network", tiny_settings, out / "bundle")
    return out / "bundle"


@pytest.fixture(scope="module")
def slider(bundle: Path) -> Iterator[RunningServer]:
    with running_server([bundle]) as server:
        yield server


@pytest.fixture(scope="module")
def files(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Every test clip, and one of them as every kind of file, and a long recording."""
    clips = sorted((recordings / "slider" / "test").glob("*.wav"))
    assert clips
    out = tmp_path_factory.mktemp("clips")
    samples, rate = soundfile.read(clips[0])
    assert rate == RATE
    other = soundfile.read(clips[1])[0]
    kinds: dict[str, tuple[np.ndarray, int, str]] = {
        "rate-8000.wav": (soxr.resample(samples, RATE, 8_000), 8_000, "PCM_16"),
        "rate-44100.wav": (soxr.resample(samples, RATE, 44_100), 44_100, "PCM_16"),
        "rate-48000.wav": (soxr.resample(samples, RATE, 48_000), 48_000, "PCM_16"),
        "stereo.wav": (np.stack([samples, other[: len(samples)]], axis=1), RATE, "PCM_16"),
        "24-bit.wav": (samples, RATE, "PCM_24"),
        "float.wav": (samples, RATE, "FLOAT"),
        "8-bit.wav": (samples, RATE, "PCM_U8"),
        "short.wav": (samples[:9_000], RATE, "PCM_16"),
        "lossless.flac": (samples, RATE, "PCM_16"),
        "stereo-48000.flac": (soxr.resample(np.stack([samples, samples / 2], axis=1), RATE, 48_000), 48_000, "PCM_24"),
        "vorbis.ogg": (samples, RATE, "VORBIS"),
        "mp3.mp3": (samples, RATE, "MPEG_LAYER_III"),
        "long.flac": (np.tile(np.concatenate([samples, other]), 4), RATE, "PCM_16"),
    }
    for name, (content, content_rate, subtype) in kinds.items():
        soundfile.write(out / name, content, content_rate, subtype=subtype)
    return [*clips, *(out / name for name in kinds)]


@pytest.fixture(scope="module")
def offline(bundle: Path, files: list[Path]) -> dict[Path, dict[str, Any]]:
    """What the command prints, one line a file."""
    command = [sys.executable, "-m", "masd.cli.main", "score", str(bundle), *map(str, files), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    return {Path(answer.pop("file")): answer for answer in answers}


def _check(answer: dict[str, Any], expected: dict[str, Any]) -> None:
    assert set(answer) == set(expected)
    assert (answer["domain"], answer["anomalous"]) == (expected["domain"], expected["anomalous"])
    for name in NUMBERS:
        assert answer[name] == pytest.approx(expected[name], abs=TOLERANCE), name
    for part, other in zip(answer["segments"], expected["segments"], strict=True):
        assert part == pytest.approx(other, abs=TOLERANCE)
    if "blocks" in expected:
        assert answer["blocks"] == expected["blocks"]


def _b64(file: Path) -> str:
    return base64.b64encode(file.read_bytes()).decode()


def _form(file: Path) -> tuple[bytes, str]:
    head = b'--limit\r\nContent-Disposition: form-data; name="data"; filename="x"\r\n\r\n'
    return head + file.read_bytes() + b"\r\n--limit--\r\n", "multipart/form-data; boundary=limit"


def _v2(files: list[Path]) -> dict[str, Any]:
    tensor = {"name": "clips", "shape": [len(files)], "datatype": "BYTES", "data": [_b64(file) for file in files]}
    return {"inputs": [tensor]}


def test_every_file_alone_in_every_shape(
    slider: RunningServer, files: list[Path], offline: dict[Path, dict[str, Any]]
) -> None:
    assert len(offline) == len(files)
    with GrpcScoringClient(slider.grpc_address) as client:
        for file in files:
            _check(post(slider, file.read_bytes()).json, offline[file])
            _check(post(slider, *_form(file)).json, offline[file])
            _check(post_json(slider, {"instances": [{"b64": _b64(file)}]}).json["predictions"][0], offline[file])
            _check(json.loads(post_json(slider, _v2([file])).json["outputs"][0]["data"][0]), offline[file])
            _check(client.score(machine_of(slider), file), offline[file])


def test_mixed_batches_with_bad_clips_among_them(
    slider: RunningServer, files: list[Path], offline: dict[Path, dict[str, Any]]
) -> None:
    """All files at once in all shapes: TorchServe makes batches of eight of whatever waits."""
    groups = [files[start : start + 5] for start in range(0, len(files), 5)]
    machine = machine_of(slider)
    with GrpcScoringClient(slider.grpc_address) as client, ThreadPoolExecutor(16) as pool:
        alone = [(pool.submit(post, slider, file.read_bytes()), file) for file in files]
        called = [(pool.submit(client.score, machine, file), file) for file in files]
        together = [(pool.submit(post_json, slider, _v2(group)), group) for group in groups]
        bad = [pool.submit(post, slider, b"RIFF and no more") for _ in range(10)]
        for answer, file in alone:
            _check(answer.result().json, offline[file])
        for told, file in called:
            _check(told.result(), offline[file])
        for answer, group in together:
            for text, file in zip(answer.result().json["outputs"][0]["data"], group, strict=True):
                _check(json.loads(text), offline[file])
        assert {answer.result().status for answer in bad} == {400}
