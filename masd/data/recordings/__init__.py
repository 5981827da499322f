"""Which clips are copies of others, and which come from one recording: found by what they sound like."""
