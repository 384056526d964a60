"""Two-player games, their exact solver, matches with statistics, and learning by playing oneself."""
