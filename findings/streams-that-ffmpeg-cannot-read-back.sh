#!/usr/bin/env bash
# FFmpeg 7.0.2 writes Wave64, RF64 and AIFF to a pipe that it cannot read itself; of the RF64 it does not even say so.
#
# Guess: what FFmpeg writes to a pipe it reads back from a file, as it does with WAV: sizes that could not be known are left
# open, and the sound goes on to the end.
# Seen: the Wave64 and the AIFF are refused ("Invalid data found"); of the RF64 it reads no sample and ends with 0. CAF, AU and
# WAV come back whole. libsndfile 1.2.2 differs: it reads the Wave64 and the AIFF whole, none of the RF64 without an error, and
# refuses the CAF. So a recorder that streams into one of these needs a reader that repairs the sizes, and a count of samples
# is worth checking wherever a decoder has ended well.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'imageio-ffmpeg==0.6.0' 'soundfile==0.14.0' 'numpy==2.2.6'
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import subprocess

import imageio_ffmpeg
import numpy as np
import soundfile

COUNT = 32_000
FFMPEG = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error"]
SOUND = np.full(COUNT, 1000, "<i2").tobytes()


def by_ffmpeg(name: str) -> str:
    done = subprocess.run([*FFMPEG, "-i", name, "-f", "s16le", "-"], capture_output=True)
    return "refused" if done.returncode else str(len(done.stdout) // 2)


def by_libsndfile(name: str) -> str:
    try:
        return str(len(soundfile.read(name)[0]))
    except soundfile.LibsndfileError:
        return "refused"


print("FFmpeg", imageio_ffmpeg.get_ffmpeg_version(), soundfile.__libsndfile_version__)
seen = {}
for kind, options in {
    "w64": ("-c:a", "pcm_s16le", "-f", "w64"),
    "rf64": ("-c:a", "pcm_s16le", "-rf64", "always", "-f", "wav"),
    "aiff": ("-c:a", "pcm_s16be", "-f", "aiff"),
    "caf": ("-c:a", "pcm_s16le", "-f", "caf"),
    "au": ("-c:a", "pcm_s16be", "-f", "au"),
    "wav": ("-c:a", "pcm_s16le", "-f", "wav"),
}.items():
    command = [*FFMPEG, "-f", "s16le", "-ar", "16000", "-i", "-", *options, "-"]
    streamed = subprocess.run(command, input=SOUND, capture_output=True, check=True).stdout
    with open(f"streamed.{kind}", "wb") as file:
        file.write(streamed)
    seen[kind] = by_ffmpeg(file.name), by_libsndfile(file.name)
    print(f"{kind}: {COUNT} samples streamed, {seen[kind][0]} read by FFmpeg, {seen[kind][1]} by libsndfile")
expected = {"w64": ("refused", "32000"), "rf64": ("0", "0"), "aiff": ("refused", "32000"), "caf": ("32000", "refused")}
assert seen == {**expected, "au": ("32000", "32000"), "wav": ("32000", "32000")}, "this has changed"
PY
