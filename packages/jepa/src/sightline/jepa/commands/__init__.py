"""The program `sightline-jepa`: train on data of one's own, and ask."""
