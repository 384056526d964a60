"""E1 and E2: recursive reasoners on puzzles, and what of TRM does the work."""
