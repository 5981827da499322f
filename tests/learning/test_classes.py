"""Attribute classes: machine x attributes x domain, what clean clips share and noise does not."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from masd.config import AudioSettings
from masd.data.store import FeatureStore
from masd.learning.classes import NOISE, label_clips

Row = tuple[str, str, str, str]
"""split, kind, domain, attributes"""


def store(rows: list[Row], machine: str = "fan") -> FeatureStore:
    clips = pd.DataFrame(rows, columns=["split", "kind", "domain", "attributes"]).assign(copy_of="")
    frames = np.zeros((1, 8), np.float32)
    return FeatureStore(Path(), machine, "", AudioSettings(), 0.0, (), clips, frames)


def named(rows: list[Row]) -> list[str | None]:
    """The class of each row by name, None for noise and test rows."""
    names, (labels,) = label_clips([store(rows)])
    return [None if label == NOISE else names[label] for label in labels]


def test_a_class_is_attributes_times_domain() -> None:
    first, second, third, fourth = named(
        [
            ("train", "noisy", "source", "rpm=1"),
            ("train", "noisy", "target", "rpm=1"),
            ("train", "noisy", "source", "rpm=2"),
            ("train", "noisy", "source", "rpm=1"),
        ]
    )
    assert len({first, second, third}) == 3
    assert first == fourth


def test_without_attributes_only_the_domain_is_left() -> None:
    source, other_source, target = named(
        [
            ("train", "noisy", "source", "noAttribute"),
            ("train", "noisy", "source", "noAttribute"),
            ("train", "noisy", "target", "noAttribute"),
        ]
    )
    assert source == other_source != target


def test_a_clip_without_a_domain_counts_as_source() -> None:
    none, source = named([("train", "noisy", "none", "noAttribute"), ("train", "noisy", "source", "noAttribute")])
    assert none == source


def test_clean_clips_share_the_class_of_noisy_ones_with_the_same_attributes() -> None:
    source, target, other, clean_source, clean_target, clean_other = named(
        [
            ("train", "noisy", "source", "rpm=1"),
            ("train", "noisy", "target", "rpm=1"),
            ("train", "noisy", "target", "rpm=9"),  # known in the target domain only
            ("supplemental", "clean", "none", "rpm=1"),
            ("supplemental", "clean", "none", "rpm=9"),
            ("supplemental", "clean", "none", "rpm=1"),
        ]
    )
    assert clean_source == clean_other == source != target
    assert clean_target == other


def test_clean_clips_without_attributes_are_positives_of_the_source() -> None:
    source, target, clean = named(
        [
            ("train", "noisy", "source", "noAttribute"),
            ("train", "noisy", "target", "noAttribute"),
            ("supplemental", "clean", "none", "noAttribute"),
        ]
    )
    assert clean == source != target


def test_clean_clips_of_unknown_attributes_are_a_class_of_their_own() -> None:
    noisy, clean, same = named(
        [
            ("train", "noisy", "source", "rpm=1"),
            ("supplemental", "clean", "none", "rpm=5"),
            ("supplemental", "clean", "none", "rpm=5"),
        ]
    )
    assert clean == same != noisy
    assert clean is not None


def test_noise_and_test_clips_have_no_class() -> None:
    rows = [
        ("train", "noisy", "source", "rpm=1"),
        ("supplemental", "noise", "none", "noAttribute"),
        ("supplemental", "noise", "none", "rpm=1"),
        ("test", "noisy", "source", "rpm=1"),
        ("test", "noisy", "target", "rpm=7"),
    ]
    assert [name is None for name in named(rows)] == [False, True, True, True, True]
    names, _ = label_clips([store(rows)])
    assert len(names) == 1  # neither an attribute seen in test clips only nor noise makes a classifier output


def test_classes_number_the_classifier_outputs_without_gaps() -> None:
    rows = [("train", "noisy", domain, f"rpm={n}") for n in range(3) for domain in ("source", "target")]
    names, (labels,) = label_clips([store(rows)])
    assert sorted(labels) == list(range(len(names)))
    assert names == sorted(set(names))


def test_a_fleet_keeps_machines_apart() -> None:
    rows = [("train", "noisy", "source", "rpm=1"), ("train", "noisy", "source", "rpm=1")]
    names, (fan, valve) = label_clips([store(rows, "fan"), store(rows, "valve")])
    assert len(names) == 2
    assert fan[0] == fan[1] != valve[0] == valve[1]


@pytest.mark.parametrize("seed", range(3))
def test_labels_do_not_depend_on_the_order_of_clips(seed: int) -> None:
    rows = [("train", "noisy", domain, f"rpm={n}") for n in range(3) for domain in ("source", "target")]
    rows += [("supplemental", "clean", "none", "rpm=2"), ("supplemental", "noise", "none", "noAttribute")]
    order = np.random.default_rng(seed).permutation(len(rows))
    straight, shuffled = named(rows), named([rows[i] for i in order])
    assert shuffled == [straight[i] for i in order]
