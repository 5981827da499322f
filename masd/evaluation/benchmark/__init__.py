"""The paper's Table 1 for any data set: every method trained and scored on the same clips, over seeds."""
