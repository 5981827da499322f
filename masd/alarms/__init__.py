"""From scores to alarms: a sequential rule with a stated rate of false alarms, its calibration and its events."""
