"""The shop in a real browser; each module is imported by its name, and needs what its errors say."""
