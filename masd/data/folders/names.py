"""File names of the DCASE Task 2 sets, 2020 to 2026, and of their supplemental recordings."""

import re
from dataclasses import dataclass

from masd.data.clips import NO_ATTRIBUTE, Condition, Domain, Kind
from masd.data.folders.words import condition_in

_SECTION = r"section_(?P<section>\d{1,3})"
_LABELLED = re.compile(
    _SECTION + r"_(?P<domain>source|target)_(?P<split>train|test)_(?P<condition>[a-z]+)_\d+(?:_(?P<attributes>.+))?",
    re.IGNORECASE,
)  # 2021 to 2026
_BLIND = re.compile(_SECTION + r"_(?:(?P<domain>source|target)_)?(?:(?P<split>test)_)?\d+", re.IGNORECASE)  # evaluation
_DCASE_2020 = re.compile(r"(?P<condition>[a-z]+)_id_(?P<section>\d\d)_\d+", re.IGNORECASE)
_BLIND_2020 = re.compile(r"id_(?P<section>\d\d)_\d+", re.IGNORECASE)


@dataclass(frozen=True)
class Name:
    """The parts of a file name; ``split`` is None if the name does not contain it."""

    section: str
    split: str | None
    domain: Domain
    condition: Condition
    attributes: str


def parse_name(stem: str) -> Name | None:
    """Read the name of a train or test clip (without ``.wav``); None if no known pattern matches."""
    for pattern in (_LABELLED, _BLIND, _DCASE_2020, _BLIND_2020):
        if match := pattern.fullmatch(stem):
            found = match.groupdict()
            condition = condition_in(word) if (word := found.get("condition")) else "unknown"
            if condition is None:
                return None
            return Name(
                section=f"{int(found['section']):02d}",
                split=(found.get("split") or "").lower() or None,
                domain=(found.get("domain") or "none").lower(),  # type: ignore[arg-type]
                condition=condition,
                attributes=canonical_attributes(found.get("attributes") or NO_ATTRIBUTE),
            )
    return None


def parse_supplemental(stem: str) -> tuple[Kind, str] | None:
    """Kind and attributes of a supplemental clip; None if no token before the number states the kind.

    Tokens are ``noise``, ``machine`` and ``clean``. Names seen: ``section_00_noise_supplemental_normal_0000``,
    ``section_00_machine_source_0000_noAttribute``, ``section_00_source_supplemental_machine_0000``.
    """
    match = re.match(r"(?:section_\d{1,3}_)?(?P<words>\D+)\d*(?:_(?P<attributes>.+))?", stem, re.IGNORECASE)
    if match is None:
        return None
    words = re.split("[^a-z]+", match["words"].lower())
    attributes = canonical_attributes(match["attributes"] or NO_ATTRIBUTE)
    if "noise" in words:
        return "noise", NO_ATTRIBUTE
    if "machine" in words or "clean" in words:
        return "clean", attributes
    return None


def canonical_attributes(text: str) -> str:
    """``motor_M1_rpm_1400`` -> ``motor=M1,rpm=1400``; a text without pairs becomes one attribute."""
    if text.lower() == NO_ATTRIBUTE.lower():
        return NO_ATTRIBUTE
    tokens = text.split("_")
    if len(tokens) % 2:
        return text
    return join_attributes(dict(zip(tokens[::2], tokens[1::2], strict=True)))


def split_attributes(text: str) -> dict[str, str]:
    """The pairs of a canonical text; empty if it is not a list of pairs."""
    pairs = [pair.split("=", 1) for pair in text.split(",")]
    return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}


def join_attributes(pairs: dict[str, str]) -> str:
    """Canonical text of attribute pairs, sorted by key, so that the order in names and tables does not matter."""
    return ",".join(f"{key}={value}" for key, value in sorted(pairs.items())) or NO_ATTRIBUTE
