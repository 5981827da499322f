"""Words in folder and file names that say whether recordings are normal or anomalous."""

import re
from functools import cache
from typing import Literal

NORMAL_WORDS = frozenset(
    {
        *("normal", "normals", "nominal", "ok", "okay", "good", "healthy", "io", "passed"),
        *("intact", "flawless", "undamaged"),
    }
)
ANOMALY_WORDS = frozenset(
    {
        *("anomaly", "anomalies", "anomalous", "anomal", "abnormal", "abnormals", "abnormality", "abnormalities"),
        *("fault", "faults", "faulty", "faulted", "defect", "defects", "defective", "defectives", "defekt"),
        *("ng", "nok", "nio", "bad", "broken", "breakdown", "damage", "damages", "damaged"),
        *("fail", "failed", "failing", "failure", "failures", "malfunction", "malfunctions", "malfunctioning"),
        *("unhealthy", "outlier", "outliers"),
    }
)

_BEFORE = frozenset({"no", "not", "non", "without", "n"})
"""Words that reverse the next word: ``not_ok``, ``no-fault``."""

_AFTER = frozenset({"free", "less"})
"""Words that reverse the word before: ``fault-free``."""

Said = Literal["normal", "anomaly"]

_TABLES: tuple[tuple[frozenset[str], Said], ...] = ((NORMAL_WORDS, "normal"), (ANOMALY_WORDS, "anomaly"))
_TURNED: dict[Said, Said] = {"normal": "anomaly", "anomaly": "normal"}


def condition_in(text: str) -> Said | None:
    """The condition in the name of a folder or file; None if it has no such word, or both."""
    said = conditions_in(text)
    return next(iter(said)) if len(said) == 1 else None


def conditions_in(text: str) -> set[Said]:
    """All conditions in the name of a folder or file.

    Upper and lower case, digits and punctuation do not matter: ``Abnormal_02``, ``NG``, ``not OK``, ``n.i.O.``,
    ``faultFree``. Only whole words count: ``default`` is not a fault.
    """
    text = re.sub(r"(?<=[a-z]{2})(?<!\bni)(?=[A-Z])", " ", text).lower().replace("_", " ")
    text = re.sub(r"\b(n\.? ?)?i\. ?o\b", lambda found: "nio" if found[1] else "io", text)
    words = re.findall(r"[^\W\d]+", text)
    return {said for place in range(len(words)) if (said := _said(words, place)) is not None}


def _said(words: list[str], place: int) -> Said | None:
    word = words[place]
    found = _looked_up(word)
    if found is None or (word == "io" and len(words) > 1):  # elsewhere "io" is input and output
        return None
    turned = (place > 0 and words[place - 1] in _BEFORE) or (place + 1 < len(words) and words[place + 1] in _AFTER)
    return _TURNED[found] if turned else found


@cache
def _looked_up(word: str) -> Said | None:
    for table, condition in _TABLES:
        if word in table:
            return condition
        if any(f"{joined}{known}" == word for known in table for joined in ("no", "not", "non")):
            return _TURNED[condition]
        if any(f"{known}{joined}" == word for known in table for joined in _AFTER):
            return _TURNED[condition]
    return None
