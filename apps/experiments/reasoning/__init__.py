"""The experiments on reasoning: small recursive models and search, on puzzles and in games."""
