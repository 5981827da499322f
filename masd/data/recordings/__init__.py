"""Find clips that are copies of others, and clips that come from one recording, by their sound."""
