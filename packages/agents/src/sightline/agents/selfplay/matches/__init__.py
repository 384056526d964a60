"""Games between players, and what they show."""
