"""The sentences of the gate, for people. Programs read the fields of its verdict, never these texts."""

GATE_TEXTS = {
    # the sentence of a verdict, by its decision
    "promote": "{machine} passes: {reason}.",
    "ask": "{machine} passes and awaits approval: {reason}.",
    "refuse": "{machine} is refused: {reason}.",
    # the names of the checks, by their kind
    "chance": "chance",
    "specificity": "normal clips",
    "baseline": "official baseline",
    "champion": "version {version} in production",
    # reasons without a check
    "no numbers": "the model is broken: {system} gives no finite score for {broken} of {clips} test clips",
    "one score": "the model is broken: {system} gives all {clips} test clips the same score",
    "no labels": "its test set needs clips labelled normal and clips labelled anomalous, and lacks one of them",
    "not compared": "{champion} has scored no labelled clip of its test set",
    # reasons after the checks
    "failed": "{system} reaches a harmonic mean of {value:.3f}, but {why}",
    "and": " and ",
    "held": "{system} reaches a harmonic mean of {value:.3f}, above chance and within the margin of every reference",
    # failed checks
    "below chance": "its lower confidence bound {value:.3f} is not above chance ({chance})",
    "flags normal clips": (
        "it flags {flagged:.0%} of the normal clips, the best of its references {reference:.0%}; was it trained on "
        "recordings of another machine?"
    ),
    "below reference": "{value:.3f} is more than {margin:g} below {name} ({reference:.3f})",
    "difference": ", a difference of {difference}",
    "may be chance": "; the difference may be chance, so production stays",
    # a candidate that passes, beside the version in production
    "better": "; it is better than {champion}, by {difference}",
    "worse": "; it is worse than {champion}, by {difference}, within the margin of {margin:g}",
    "equal": (
        "; it cannot be distinguished from {champion}, {difference}, and is preferred because it was trained on newer "
        "recordings"
    ),
    "no champion": (
        "; there is no champion to compare with, because {champion} has bundle schema {schema}, which this masd does "
        "not read"
    ),
    "signed": "{value:+.3f} ({confidence:.0%} interval {low:+.3f} to {high:+.3f})",
}


def say(text: str, **values: object) -> str:
    """Fill one text of :data:`GATE_TEXTS`."""
    return GATE_TEXTS[text].format(**values)
