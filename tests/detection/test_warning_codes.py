"""Warnings of an answer: each code alone, from what training saw; and the table in the documents."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from masd.audio import SoundProperties
from masd.config import AudioSettings
from masd.detection.trained_on.warning_codes import WARNINGS, TrainedOn, WarningCode, warnings_of

RATE = 16_000
AUDIO = AudioSettings()
USUAL = SoundProperties(
    sample_rate_in=RATE,
    channels_in=1,
    duration_s=10.0,
    level_dbfs=-30.0,
    clipped_share=0.0,
    codec="PCM_16",
    channel_levels_dbfs=(-30.0,),
)
STEREO = replace(USUAL, channels_in=2, mixed=True, channel_levels_dbfs=(-30.0, -31.0))
TRAINED = TrainedOn(sample_rates=(RATE,), codecs=("PCM_16",), channels=(1,), levels_dbfs=(-35.0, -28.0))
TWO_CHANNELS = replace(TRAINED, channels=(2,))

CASES: list[tuple[SoundProperties, TrainedOn, tuple[WarningCode, ...]]] = [
    (USUAL, TRAINED, ()),
    (USUAL, TrainedOn(), ()),
    (replace(USUAL, level_dbfs=-55.1), TRAINED, ("silence",)),
    (replace(USUAL, level_dbfs=-54.9), TRAINED, ("level",)),
    (replace(USUAL, level_dbfs=-44.9), TRAINED, ()),
    (replace(USUAL, level_dbfs=-17.9), TRAINED, ("level",)),
    (replace(USUAL, level_dbfs=-90.0), TrainedOn(), ()),
    (replace(USUAL, level_dbfs=-6.0, silent=True), TrainedOn(), ("silence",)),  # an offset and nothing else
    (replace(USUAL, clipped_share=0.0009), TRAINED, ()),
    (replace(USUAL, clipped_share=0.0011), TRAINED, ("clipped",)),
    (replace(USUAL, clipped_share=0.0011), replace(TRAINED, clipped_share=0.002), ()),
    (replace(USUAL, sample_rate_in=48_000), TRAINED, ()),
    (replace(USUAL, sample_rate_in=11_025), TRAINED, ("sample_rate",)),
    (replace(USUAL, sample_rate_in=11_025), TrainedOn(), ("sample_rate",)),
    (replace(USUAL, sample_rate_in=11_025), replace(TRAINED, sample_rates=(11_025, RATE)), ()),
    (replace(USUAL, sample_rate_in=RATE), replace(TRAINED, sample_rates=(8_000,)), ("sample_rate",)),
    (replace(USUAL, codec="MPEG_LAYER_III"), TRAINED, ("lossy",)),
    (replace(USUAL, codec="MPEG_LAYER_III"), TrainedOn(), ("lossy",)),
    (replace(USUAL, codec="MPEG_LAYER_III"), replace(TRAINED, codecs=("MPEG_LAYER_III",)), ()),
    (replace(USUAL, codec="PCM_24"), TRAINED, ()),
    (USUAL, TWO_CHANNELS, ("mono_for_two_channels",)),
    (STEREO, TWO_CHANNELS, ()),
    (replace(STEREO, channels_cancel=True), TWO_CHANNELS, ("channels_cancel",)),
    (replace(STEREO, channel_levels_dbfs=(-120.0, -30.0)), TWO_CHANNELS, ("dead_channel",)),
    (replace(STEREO, mixed=False, channel_levels_dbfs=(-30.0, -120.0)), TWO_CHANNELS, ()),  # channel 0 is listened to
    (replace(USUAL, repaired=True), TRAINED, ("repaired",)),
]


@pytest.mark.parametrize(("clip", "trained_on", "codes"), CASES)
def test_each_code_where_it_holds_and_nowhere_else(
    clip: SoundProperties, trained_on: TrainedOn, codes: tuple[WarningCode, ...]
) -> None:
    assert warnings_of(clip, trained_on, AUDIO) == codes


def test_every_code_has_a_case() -> None:
    assert {code for _, _, codes in CASES for code in codes} == set(WARNINGS)


def test_several_codes_come_in_the_order_of_the_table() -> None:
    clip = replace(USUAL, codec="OPUS", sample_rate_in=8_000, level_dbfs=-10.0, clipped_share=0.5, repaired=True)
    codes = warnings_of(clip, TWO_CHANNELS, AUDIO)
    assert codes == ("level", "clipped", "sample_rate", "lossy", "mono_for_two_channels", "repaired")
    assert list(codes) == [code for code in WARNINGS if code in codes]


def test_the_documents_have_the_table() -> None:
    page = Path(__file__).parents[2] / "docs" / "serving.md"
    section = page.read_text(encoding="utf-8").partition("\n## Warnings\n")[2].partition("\n## ")[0]
    assert dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", section, re.MULTILINE)) == WARNINGS
