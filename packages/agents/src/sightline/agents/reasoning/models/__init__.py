"""Reasoners as networks: layers, recursive models, the plain comparison, saving and loading."""
