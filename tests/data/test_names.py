"""File names of the DCASE Task 2 sets and of supplemental recordings."""

import pytest

from masd.data.clips import NO_ATTRIBUTE
from masd.data.folders.names import Name, canonical_attributes, join_attributes, parse_name, parse_supplemental


@pytest.mark.parametrize(
    ("stem", "expected"),
    [
        # 2020
        ("normal_id_00_00000000", Name("00", None, "none", "normal", NO_ATTRIBUTE)),
        ("anomaly_id_06_00000256", Name("06", None, "none", "anomaly", NO_ATTRIBUTE)),
        ("id_01_00000000", Name("01", None, "none", "unknown", NO_ATTRIBUTE)),
        # 2021: some attribute texts are no list of pairs
        (
            "section_00_source_train_normal_0000_strength_1_ambient",
            Name("00", "train", "source", "normal", "strength_1_ambient"),
        ),
        ("section_02_target_test_anomaly_0099", Name("02", "test", "target", "anomaly", NO_ATTRIBUTE)),
        ("section_03_source_test_0000", Name("03", "test", "source", "unknown", NO_ATTRIBUTE)),
        # other words and other ways to write a section
        ("Section_00_Source_Test_Abnormal_0001", Name("00", "test", "source", "anomaly", NO_ATTRIBUTE)),
        ("section_000_target_train_normal_0001_vel_4", Name("00", "train", "target", "normal", "vel=4")),
        ("section_1_test_0001", Name("01", "test", "none", "unknown", NO_ATTRIBUTE)),
        ("abnormal_id_06_00000256", Name("06", None, "none", "anomaly", NO_ATTRIBUTE)),
        # 2022 to 2024
        (
            "section_01_target_train_normal_0007_vel_10_loc_A",
            Name("01", "train", "target", "normal", "loc=A,vel=10"),
        ),
        (
            "section_00_source_test_anomaly_0049_car_A1_spd_28V_mic_1_noise_1",
            Name("00", "test", "source", "anomaly", "car=A1,mic=1,noise=1,spd=28V"),
        ),
        ("section_04_0123", Name("04", None, "none", "unknown", NO_ATTRIBUTE)),
        # 2025, 2026
        (
            "section_00_source_train_normal_0000_noAttribute",
            Name("00", "train", "source", "normal", NO_ATTRIBUTE),
        ),
        ("section_00_test_0000", Name("00", "test", "none", "unknown", NO_ATTRIBUTE)),
    ],
)
def test_known_names(stem: str, expected: Name) -> None:
    assert parse_name(stem) == expected


@pytest.mark.parametrize(
    "stem",
    [
        "recording",
        "normal",
        "section_00",
        "section_00_source_train_normal",
        "section_00_source_train_strange_0000",
        "strange_id_00_00000000",
        "section_00_elsewhere_train_normal_0000",
        "section_0000_source_train_normal_0000",
        "my_section_00_source_train_normal_0000",
        "normal_id_00_00000000 (copy)",
        "",
    ],
)
def test_other_names_are_not_guessed(stem: str) -> None:
    assert parse_name(stem) is None


@pytest.mark.parametrize(
    ("stem", "kind", "attributes"),
    [
        ("section_00_machine_source_0000_noAttribute", "clean", NO_ATTRIBUTE),
        ("section_00_noise_supplemental_normal_0000", "noise", NO_ATTRIBUTE),
        ("section_00_source_supplemental_machine_0000", "clean", NO_ATTRIBUTE),
        ("section_00_source_supplemental_machine_0000_rpm_1400_motor_M1", "clean", "motor=M1,rpm=1400"),
        ("section_00_clean_supplemental_0001_vel_2", "clean", "vel=2"),
        ("section_00_machine_source_0000_noise_env1", "clean", "noise=env1"),  # an attribute is no token
        ("section_00_noise_supplemental_normal_0000_vel_2", "noise", NO_ATTRIBUTE),
        ("Noise_01", "noise", NO_ATTRIBUTE),
        ("noise", "noise", NO_ATTRIBUTE),
        ("background-noise-01", "noise", NO_ATTRIBUTE),
        ("clean01", "clean", NO_ATTRIBUTE),
    ],
)
def test_supplemental_names(stem: str, kind: str, attributes: str) -> None:
    assert parse_supplemental(stem) == (kind, attributes)


@pytest.mark.parametrize("stem", ["section_00_supplemental_0000", "0001", "noiseless_0001", "extra_0000_noise_1", ""])
def test_supplemental_names_without_a_token_are_not_guessed(stem: str) -> None:
    assert parse_supplemental(stem) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("motor_M1_rpm_1400", "motor=M1,rpm=1400"),
        ("rpm_1400_motor_M1", "motor=M1,rpm=1400"),
        ("noAttribute", NO_ATTRIBUTE),
        ("noattribute", NO_ATTRIBUTE),
        ("strength_1_ambient", "strength_1_ambient"),
        ("A", "A"),
        ("n-lvl_L-2", "n-lvl=L-2"),
    ],
)
def test_attributes_have_one_canonical_text(text: str, expected: str) -> None:
    assert canonical_attributes(text) == expected


def test_no_pairs_are_no_attribute() -> None:
    assert join_attributes({}) == NO_ATTRIBUTE
    assert join_attributes({"b": "2", "a": "1"}) == join_attributes({"a": "1", "b": "2"}) == "a=1,b=2"
