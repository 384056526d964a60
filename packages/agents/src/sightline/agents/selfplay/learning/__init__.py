"""Learning a board game by playing it against oneself."""
