"""The experiment with steered predictors: do they use steering, and do their explanations tell the truth?"""
