"""From scores to alarms: a sequential rule with a stated false-alarm rate, its calibration and its events."""
