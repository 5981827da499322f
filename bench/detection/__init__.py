"""How well the default detector and its thresholds hold on recordings."""
