"""Evaluations beside link prediction; they work on vectors and know of no files."""
