"""A graph of the size of WikiArt-MKG-v2 made from a seed, and what `benchmarks/v2_size.py` measures on it."""
