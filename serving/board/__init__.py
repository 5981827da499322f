"""The board: one page for a shift, a page for each machine, and changes by those who have the token."""
