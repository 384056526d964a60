"""Rows near a query: exactly, through an approximate index, on one state of a store."""
