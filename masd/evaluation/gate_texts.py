"""The sentences of the gate, for people. Programs read the fields of its verdict, never these texts."""

GATE_TEXTS = {
    # the sentence of a verdict, by its decision
    "promote": "{machine}: the new model passes: {reason}.",
    "ask": "{machine}: the new model passes and awaits approval (masd registry promote): {reason}.",
    "refuse": "{machine}: the new model is refused: {reason}.",
    # the names of the checks, by their kind
    "chance": "chance",
    "specificity": "normal clips",
    "baseline": "official baseline",
    "champion": "version {version} in production",
    # reasons without a check
    "no numbers": "the model is broken: {system} gives no finite score for {broken} of {clips} test clips",
    "one score": "the model is broken: {system} gives all {clips} test clips the same score",
    "no labels": "the test set must have clips labelled normal and clips labelled anomalous, but one kind is missing",
    "not compared": "{champion} gives no score for any labelled clip of the new test set",
    # reasons after the checks
    "failed": "{system} reaches a harmonic mean of {value:.3f}, but {why}",
    "and": " and ",
    "held": (
        "{system} reaches a harmonic mean of {value:.3f}; it is above chance, and no reference (baseline, control, "
        "version "
        "in production) is better by more than its margin"
    ),
    # failed checks
    "below chance": "the lower end of its confidence interval, {value:.3f}, is not above chance ({chance})",
    "flags normal clips": (
        "it flags {flagged:.0%} of the normal source clips, but the best reference flags only {reference:.0%}: check "
        "that "
        "it was trained on recordings of this machine"
    ),
    "below reference": "{value:.3f} is more than {margin:g} below {name} ({reference:.3f})",
    "difference": ", a difference of {difference}",
    "may be chance": "; the difference may be due to chance, and the version in production is kept",
    # a candidate that passes, beside the version in production
    "better": "; it is better than {champion}, by {difference}",
    "worse": "; it is worse than {champion}, by {difference}, within the margin of {margin:g}",
    "equal": ("; it cannot be distinguished from {champion}, {difference}, and the newer model is preferred"),
    "no champion": ("; it was not compared with {champion}, whose bundle schema {schema} this masd does not read"),
    "signed": "{value:+.3f} ({confidence:.0%} interval {low:+.3f} to {high:+.3f})",
}


def say(text: str, **values: object) -> str:
    """Fill one text of :data:`GATE_TEXTS`."""
    return GATE_TEXTS[text].format(**values)
