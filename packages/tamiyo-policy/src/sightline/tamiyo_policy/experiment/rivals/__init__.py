"""Growth methods of the field, which add hidden units by rules of their own, in the same hosts and on the same data."""
