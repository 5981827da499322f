"""The bundle: the one artefact of training, and its manifest."""
