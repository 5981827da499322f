"""Every row of the tables in docs/recordings/formats.md: what is written there is what comes out."""

import io
import os
import re
import shutil
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile

from masd.audio import AudioError, Recording, decode
from masd.config import AudioSettings
from masd.detection.trained_on.warning_codes import TrainedOn, warnings_of

PAGE = Path(__file__).parents[2] / "docs" / "recordings" / "formats.md"
SECONDS = 2.0
TRAINED = TrainedOn(sample_rates=(8_000, 16_000, 44_100, 48_000, 96_000), codecs=("PCM_16",))
needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="no ffmpeg to make the files with")


def sound(rate: int) -> np.ndarray:
    """Two seconds of low noise: aperiodic, and below what any codec drops."""
    rng = np.random.default_rng(0)
    kernel = np.hanning(max(rate // 500, 4))
    noise = np.convolve(rng.normal(size=round(SECONDS * rate) + len(kernel) - 1), kernel, "valid")
    return 0.1 * noise / noise.std()


def shift_of(recording: Recording, original: np.ndarray) -> int:
    """Samples by which the recording comes late."""
    n = len(original)
    spectrum = np.fft.rfft(recording.samples[:n], 2 * n) * np.conj(np.fft.rfft(original, 2 * n))
    lag = int(np.argmax(np.fft.irfft(spectrum)))
    return lag if lag < n else lag - 2 * n


def found(content: bytes, rate: int, folder: Path) -> tuple[str, ...]:
    """Frames, shift and warnings, the same from a path, from bytes and from a pipe; or the error's reason."""
    path, pipe = folder / "clip", folder / "pipe"
    path.write_bytes(content)
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(content))
    writer.start()
    answers = []
    try:
        for source in (path, content, pipe):
            try:
                clip = decode(source, sample_rate=rate)
            except AudioError as error:
                answers.append((error.reason,))
                continue
            frames = f"{round(clip.duration_s * clip.sample_rate_in):,}"
            warned = ", ".join(warnings_of(clip, TRAINED, AudioSettings())) or "-"
            answers.append((frames, f"{shift_of(clip, sound(rate))}", warned))
    finally:
        writer.join()
        pipe.unlink()
    assert len(set(answers)) == 1, answers
    return answers[0]


def written(container: str, codec: str, rate: int) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, sound(rate), rate, format=container, subtype=codec)
    return buffer.getvalue()


def by_ffmpeg(options: str, rate: int) -> bytes:
    """A file that ffmpeg writes to a pipe, or where the options end in a name, to a file of it."""
    source = written("WAV", "PCM_16", rate)
    command = ["ffmpeg", "-loglevel", "error", "-i", "-", *options.split(), "-"]
    return subprocess.run(command, input=source, capture_output=True, check=True).stdout


def rows(title: str) -> list[list[str]]:
    section = PAGE.read_text(encoding="utf-8").partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    cells = [
        [cell.strip(" `") for cell in line.strip("|").split("|")] for line in re.findall(r"^\|.*\|$", section, re.M)
    ]
    return cells[2:]


@pytest.mark.parametrize(("container", "codec", "rate", "answer"), [(*row[:3], tuple(row[3:])) for row in rows("Read")])
def test_what_libsndfile_writes(container: str, codec: str, rate: str, answer: tuple[str, ...], tmp_path: Path) -> None:
    if codec not in soundfile.available_subtypes(container):
        pytest.skip(f"this libsndfile does not write {container} {codec}")
    assert found(written(container, codec, int(rate)), int(rate), tmp_path) == answer


@needs_ffmpeg
@pytest.mark.parametrize(
    ("options", "rate", "answer"), [(*row[:2], tuple(row[2:])) for row in rows("Streamed by FFmpeg")]
)
def test_what_ffmpeg_writes_to_a_pipe(options: str, rate: str, answer: tuple[str, ...], tmp_path: Path) -> None:
    assert found(by_ffmpeg(options, int(rate)), int(rate), tmp_path) == answer


@needs_ffmpeg
@pytest.mark.parametrize(("name", "options", "reason"), [tuple(row[:3]) for row in rows("Not read")])
def test_what_is_not_read_says_what_it_is(name: str, options: str, reason: str, tmp_path: Path) -> None:
    content = by_ffmpeg(options, 16_000)
    assert found(content, 16_000, tmp_path) == (reason,)
    with pytest.raises(AudioError, match=re.escape(name)):
        decode(content)
