#!/usr/bin/env bash
# FFmpeg 7.0.2 counts the padding of a Wave64 file among its samples, and libsndfile 1.2.2 reads it whatever the size says.
#
# Guess: a Wave64 file of 32,001 samples of 16 bits that FFmpeg writes says 32,001 samples in its data chunk; the bytes that
# bring the chunk to a multiple of 8 come after it and count for nothing.
# Seen: the chunk's size includes them. FFmpeg itself and libsndfile 1.2.2 then read 32,004 samples, the last three of them
# zero. With the size put right libsndfile still reads 32,004. At 32,000 samples there is nothing to pad, and nothing is wrong.
# A reader can and should stop where the chunk's size ends; in FFmpeg's own files the zeros cannot be told from silence, so
# the exact length of clips that pass through it as Wave64 has to be kept elsewhere.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'imageio-ffmpeg==0.6.0' 'soundfile==0.14.0' 'numpy==2.2.6'
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import io
import subprocess

import imageio_ffmpeg
import numpy as np
import soundfile


def sizes(count: int) -> tuple[int, ...]:
    """Samples by the data chunk's size, as FFmpeg reads them, as libsndfile does, and as it does with the size put right."""
    sound, name = np.full(count, 1000, "<i2").tobytes(), f"{count}.w64"
    ffmpeg = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-y"]
    command = [*ffmpeg, "-f", "s16le", "-ar", "16000", "-i", "-", "-c:a", "pcm_s16le", "-f", "w64", name]
    subprocess.run(command, input=sound, check=True)
    with open(name, "rb") as file:
        content = bytearray(file.read())
    at = content.index(b"data\xf3\xac\xd3\x11")
    stated = int.from_bytes(content[at + 16 : at + 24], "little") - 24
    back = subprocess.run([*ffmpeg, "-i", name, "-f", "s16le", "-"], capture_output=True, check=True).stdout
    content[at + 16 : at + 24] = (24 + 2 * count).to_bytes(8, "little")
    return stated // 2, len(back) // 2, len(soundfile.read(name)[0]), len(soundfile.read(io.BytesIO(content))[0])


print("FFmpeg", imageio_ffmpeg.get_ffmpeg_version(), soundfile.__libsndfile_version__)
seen = {count: sizes(count) for count in (32_000, 32_001, 32_002, 32_003)}
for count, (stated, ffmpeg, libsndfile, corrected) in seen.items():
    print(f"{count} samples written, {stated} by the data chunk, read: {ffmpeg} by FFmpeg, {libsndfile} by libsndfile, ", end="")
    print(f"{corrected} by libsndfile with the size put right")
padded = (32_004,) * 4
assert seen == {32_000: (32_000,) * 4, 32_001: padded, 32_002: padded, 32_003: padded}, "this has changed"
PY
