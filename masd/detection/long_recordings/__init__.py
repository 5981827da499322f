"""Recordings longer than the training clips: scored in blocks, without the stretches in which the machine is off."""
