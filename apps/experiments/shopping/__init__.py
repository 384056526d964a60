"""The experiments in the shop: a state model (phase 1), and state-gated retrieval against its rivals (phase 2)."""
