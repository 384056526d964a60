"""Training and judging of reasoners: examples, losses, halting, the trainer and its reports."""
