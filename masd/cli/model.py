"""``masd train``, ``evaluate``, ``score``."""

import argparse
import json
import math
import sys
from pathlib import Path

from masd.cli.common import add_settings, settings_from
from masd.cli.numbers import finite
from masd.files import json_text
from masd.lifecycle import steps


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    train = commands.add_parser("train", help="train a model from a machine's folder")
    train.add_argument(
        "data",
        metavar="DATA/MACHINE",
        help="a machine's folder, or s3://bucket/prefix/MACHINE; with training.scope=fleet the folder of all machines",
    )
    train.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="BUNDLE",
        help="bundle folder to write (fleet: one below it per machine)",
    )
    add_settings(train)
    train.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    train.add_argument("--resume", action="store_true", help="continue an interrupted run of the same --out")
    train.set_defaults(run=_train)

    evaluate = commands.add_parser("evaluate", help="evaluate a bundle on a machine's test clips, beside the controls")
    evaluate.add_argument("bundle", type=Path, metavar="BUNDLE")
    evaluate.add_argument("data", metavar="DATA/MACHINE", help="a folder, or s3://bucket/prefix/MACHINE")
    evaluate.add_argument("--out", type=Path, required=True, metavar="DIR")
    evaluate.set_defaults(run=_evaluate)

    score = commands.add_parser("score", help="score clips with a bundle")
    score.add_argument("bundle", type=Path, metavar="BUNDLE")
    score.add_argument("clips", type=Path, nargs="+", metavar="CLIP")
    score.add_argument("--json", action="store_true", help="one JSON object per clip")
    score.add_argument("--threshold", type=finite, help="instead of the model's own")
    score.set_defaults(run=_score)


def _train(options: argparse.Namespace) -> int:
    from masd.bundle.manifest import load_manifest
    from masd.detection.threshold import Calibration
    from masd.lifecycle.training import train

    settings = settings_from(options)
    for bundle in train(options.data, options.out, settings, device=options.device, resume=options.resume):
        print(Calibration.from_dict(load_manifest(bundle).calibration).sentence, file=sys.stderr)
        print(bundle)
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    from masd.data.data_sets import local_machine

    folder = local_machine(options.data)
    steps.evaluate_recordings(options.bundle, folder.parent, folder.name, options.out)
    metrics = json.loads((options.out / "metrics.json").read_text(encoding="utf-8"))
    print(f"{'':22}{'AUC source':>12}{'AUC target':>12}{'pAUC':>8}{'hmean':>8}")
    for name, values in {**metrics["systems"], **metrics["controls"]}.items():
        cells = (values["auc_source"], values["auc_target"], values["pauc"], values["hmean"])
        print(f"{name:22}" + "".join(f"{_percent(v):>{w}}" for v, w in zip(cells, (12, 12, 8, 8), strict=True)))
    print(f"report: {options.out / 'report.html'}")
    return 0


def _score(options: argparse.Namespace) -> int:
    from masd.audio import AudioError
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
        result = scorer.score([recording], thresholds=[options.threshold])[0]
        if not math.isfinite(result.score):  # no decision could be right
            print(f"masd: {path}: its samples are too large to be scored", file=sys.stderr)
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


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
