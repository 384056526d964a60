"""Puzzles with one answer each: sources, symmetries, rules and exact solvers, without PyTorch."""
