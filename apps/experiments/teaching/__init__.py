"""Which moments of the student's failures in the shop teach."""
