"""Two microphones in a plant: the paths of sound to each, and noise that comes and goes."""
