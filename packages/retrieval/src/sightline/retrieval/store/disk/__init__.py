"""The files of a store: how they are named, locked, written and mapped."""
