"""Write and read catalogues that are memory-mapped from a folder."""
