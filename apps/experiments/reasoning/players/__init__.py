"""Reasoners as players of Connect Four."""
