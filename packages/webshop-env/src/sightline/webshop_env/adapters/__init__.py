"""The shop behind the interfaces that other projects expect; each module adapts one, and is imported by its name."""
