"""Board games of two players, their exact solver, and positions to begin from."""
