"""Every number that a command takes: what is none, or none that could be meant, is a usage error before any work."""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from masd.cli.main import main, parser
from masd.config import Settings
from masd.errors import MasdError
from masd.files import json_text

NONSENSE = ("nan", "inf", "-inf", "1e999", "a lot", "", "9" * 5_000)

COMMANDS = {
    "--threshold": ["score", "b", "c.wav"],
    "--seconds": ["simulate", "o"],
    "--train": ["simulate", "o"],
    "--test": ["simulate", "o"],
    "--seed": ["train", "d", "--out", "o"],
    "--seeds": ["benchmark", "d", "--out", "o"],
    "--keep": ["registry", "prune", "fan"],
    "--days": ["log", "prune", "--log", "l"],
    "--port": ["serve", "--bundle", "b"],
    "--management-port": ["serve", "--bundle", "b"],
    "--metrics-port": ["serve", "--bundle", "b"],
    "--grpc-port": ["serve", "--bundle", "b"],
    "--poll": ["serve", "--bundle", "b"],
    "--probe-port": ["agent", "--registry", "r", "--model-store", "s"],
}


def _refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    return said.err.splitlines()[-1]


@pytest.mark.parametrize("option", COMMANDS)
def test_nonsense_is_a_usage_error(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    for text in NONSENSE:
        assert f"argument {option}" in _refused([*COMMANDS[option], f"{option}={text}"], capsys)


@pytest.mark.parametrize(
    ("option", "texts"),
    [
        ("--seconds", ["0", "-1", "1e308"]),
        ("--poll", ["0", "-5", "1e12"]),
        ("--port", ["-1", "65536", "1.5"]),
        ("--keep", ["0", "-1"]),
        ("--train", ["-4", "99999999999"]),
        ("--seed", ["-1", str(2**32)]),
        ("--seeds", ["0,-1", f"0,{2**32}"]),
    ],
)
def test_out_of_range_is_one_too(option: str, texts: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    for text in texts:
        assert f"argument {option}" in _refused([*COMMANDS[option], f"{option}={text}"], capsys)


def _leaves(command: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in command._actions:
        if isinstance(action, argparse._SubParsersAction):
            for one in action.choices.values():
                yield from _leaves(one)
        else:
            yield action


def test_no_option_takes_a_number_unchecked() -> None:
    assert not [action.dest for action in _leaves(parser()) if action.type in (int, float) and not action.choices]


def test_settings_that_are_no_numbers_are_refused() -> None:
    for name, value in Settings().model_dump().items():
        for key, default in value.items() if isinstance(value, dict) else [("", value)]:
            if isinstance(default, int | float) and not isinstance(default, bool):
                path = f"{name}.{key}".rstrip(".")
                for text in (".nan", ".inf", "-.inf", "1e999"):
                    with pytest.raises(MasdError, match=path):
                        Settings.load(None, [f"{path}={text}"])
    with pytest.raises(MasdError, match="seed"):
        Settings.load(None, [f"seed={2**32}"])


def test_json_has_no_nan() -> None:
    assert json.loads(json_text({"a": [1.5, float("nan")], "b": (float("inf"), {"c": -float("inf")})})) == {
        "a": [1.5, None],
        "b": [None, {"c": None}],
    }
    assert json_text({"a": 1}, indent=2) == json.dumps({"a": 1}, indent=2)


def test_a_score_that_is_none_is_an_error(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from masd.detection.scorer import Scorer

    clip = tmp_path / "clip.wav"
    soundfile.write(clip, np.random.default_rng(0).normal(scale=0.1, size=48_000), 16_000)
    score = Scorer.score

    def infinite(self: Scorer, *arguments: object, **named: object) -> object:
        found = score(self, *arguments, **named)
        return [type(one)(**{**vars(one), "score": float("inf")}) for one in found]

    monkeypatch.setattr(Scorer, "score", infinite)
    assert main(["score", str(tiny_bundle), str(clip), "--json"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == f"masd: {clip}: its sample values are too large to be scored; check the recorder\n"
