"""Worlds to plan in: the batched `Model`, the `Game` that lifts to one, and the serial form."""
