"""The shop's student, grown during its training by what grows small token hosts."""
