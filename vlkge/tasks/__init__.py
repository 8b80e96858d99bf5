"""The paper's other evaluations and what goes beyond them: on vectors, never on files."""
