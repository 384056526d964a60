"""E3: TRM with search."""
