"""Predict the embedding of the right source from a question and a steering signal, and explain the prediction."""
