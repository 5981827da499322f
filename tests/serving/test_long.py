"""An hour in one request: the worker's memory stays bounded, and the answer says when something happened."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import soundfile
from raw_http import post, workers

from serving.server import RunningServer

RATE = 16_000
HOUR = 3_600
FAULTS_S = (61.0, 599.5, 1_803.2, 2_700.0, 3_597.0)
"""Where planted: one on the border of two blocks, one at the very end."""

MB = 1_000_000


def _hour(clips: list[Path]) -> bytes:
    """The machine's own normal clips again and again, with a tone of 1.5 s at each of ``FAULTS_S``."""
    pieces = [soundfile.read(clip, dtype="float32")[0] for clip in clips]
    samples = np.resize(np.concatenate(pieces), HOUR * RATE)
    time_s = np.arange(int(1.5 * RATE)) / RATE
    tone = (3 * samples.std() * np.sin(2 * np.pi * 3_111 * time_s)).astype(np.float32)
    for start in FAULTS_S:
        first = int(start * RATE)
        samples[first : first + len(tone)] += tone
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, RATE, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


@pytest.fixture
def memory_of_worker(server: RunningServer) -> Iterator[Any]:
    """A function that says by how many bytes a worker's resident memory is, and was at most, above where it began: the
    most of any worker.
    """
    before = {pid: psutil.Process(pid).memory_info().rss for pid in workers(server)}
    for pid in before:
        Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")  # the peak begins anew

    def of(pid: int, name: str) -> int:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii").split()
        return int(status[status.index(name) + 1]) * 1024 - before[pid]

    def above() -> tuple[int, int]:
        now, peak = (max(of(pid, name) for pid in before) for name in ("VmRSS:", "VmHWM:"))
        return now, peak

    yield above


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from Linux's /proc")
def test_an_hour_is_scored_in_bounded_memory_and_its_faults_are_found(
    server: RunningServer, tiny_data: Path, memory_of_worker: Any
) -> None:
    normal = sorted((tiny_data / "fan" / "test").glob("*source*normal*"))
    answer = post(server, _hour(normal))
    assert answer.status == 200, answer.body
    result = answer.json
    now, peak = memory_of_worker()
    assert now < 60 * MB  # the body is not kept until the next one
    assert peak < 200 * MB  # 300 are promised, of which the body is 115
    assert result["duration_s"] == HOUR
    assert result["blocks"]["count"] == 1_200
    assert result["score"] > 1.2 * result["threshold"]
    assert result["anomalous"]
    assert len(result["segments"]) == 20
    for start in FAULTS_S:
        middle = start + 0.75
        assert min(abs((part["start_s"] + part["end_s"]) / 2 - middle) for part in result["segments"]) < 2.0, start
