"""The SQLite side of a store: connections, what is asked and done, and its format."""
