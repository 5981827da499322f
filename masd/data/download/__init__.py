"""Public recordings by name: DCASE 2020 to 2026, Task 2, from their Zenodo records into the challenge's layout."""
