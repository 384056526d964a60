"""E6: planning in the shop, by the oracle's rewards and honestly."""
