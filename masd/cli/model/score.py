"""``masd score``."""

import argparse
import math
import sys
from pathlib import Path

from masd.cli.numbers import finite
from masd.files import json_text


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    score = commands.add_parser("score", help="score clips with a bundle")
    score.add_argument("bundle", type=Path, metavar="BUNDLE", help="a bundle folder")
    score.add_argument("clips", type=Path, nargs="+", metavar="CLIP", help="recordings to score")
    score.add_argument("--json", action="store_true", help="print one JSON object per clip")
    score.add_argument("--threshold", type=finite, help="use this threshold instead of the model's")
    score.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from masd.audio import AudioError
    from masd.audio.threads import one_thread
    from masd.bundle.bundle import load_bundle

    scorer = load_bundle(options.bundle).scorer
    failed = 0
    for path in options.clips:
        try:
            recording = scorer.decode(path)
        except AudioError as error:
            print(f"masd: {error}", file=sys.stderr)
            failed += 1
            continue
        with one_thread():
            result = scorer.score([recording], thresholds=[options.threshold])[0]
        if not math.isfinite(result.score):  # no decision could be right
            print(f"masd: {path}: its sample values are too large to be scored; check the recorder", file=sys.stderr)
            failed += 1
            continue
        if options.json:
            print(json_text({"file": str(path)} | result.to_dict()), flush=True)
        else:
            verdict = "ANOMALOUS" if result.anomalous else "normal"
            warned = f"  warnings: {', '.join(result.warnings)}" if result.warnings else ""
            numbers = f"score {result.score:.4f}  threshold {result.threshold:.4f}"
            print(f"{path}  {verdict}  {numbers}  {result.domain}{warned}")
    return 1 if failed else 0
