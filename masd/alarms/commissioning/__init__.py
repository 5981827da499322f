"""Calibration with a window of the inference log in which the machine was healthy."""
