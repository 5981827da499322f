"""What is found in recordings before anything is trained on them."""
