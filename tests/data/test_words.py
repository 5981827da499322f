"""Words for normal and anomalous, as people write them in folder and file names."""

import pytest

from masd.data.folders.words import condition_in, conditions_in


@pytest.mark.parametrize(
    "text",
    [
        *("anomaly", "Anomalies", "ANOMALOUS", "abnormal", "Abnormal_02", "faulty", "Fault-3", "faults", "defect"),
        *("defective", "NG", "ng_017", "NOK", "nOK", "bad", "broken", "damaged", "failure", "n.i.O.", "niO", "n.i. O."),
        *("not ok", "not_normal", "NotNormal", "non-normal", "no good", "unhealthy", "bearing_faulty_left"),
        *("FaultyBearing", "anomaly002", "2024-01-05_defect"),
    ],
)
def test_words_for_anomalous(text: str) -> None:
    assert condition_in(text) == "anomaly"


@pytest.mark.parametrize(
    "text",
    [
        *("normal", "Normal_01", "OK", "ok-3", "okay", "good", "Healthy", "i.O.", "iO", "io_2", "nominal", "undamaged"),
        *("no fault", "no_anomaly", "fault-free", "FaultFree", "faultless", "without_defect", "not bad", "nofault"),
    ],
)
def test_words_for_normal(text: str) -> None:
    assert condition_in(text) == "normal"


@pytest.mark.parametrize(
    "text",
    ["", "monday", "default", "badge", "goods", "paranormal", "ngk", "io_link_3", "id_00", "12", "okra", "unknown"],
)
def test_other_words_say_nothing(text: str) -> None:
    assert conditions_in(text) == set()


def test_both_is_no_condition() -> None:
    assert conditions_in("normal_and_faulty") == {"normal", "anomaly"}
    assert condition_in("normal_and_faulty") is None
