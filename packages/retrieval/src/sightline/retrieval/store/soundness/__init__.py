"""Whether a store is what was written, and keeping what is sound of one that is not."""
