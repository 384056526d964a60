"""Trainings of phase 2, and studies of what their agents do on fresh goals."""
