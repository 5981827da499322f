"""What detectors see of a clip, from the passes of the network and from its frames."""
