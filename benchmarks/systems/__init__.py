"""The systems that `benchmarks/peers.py` compares, each measured by a script that runs in its own environment."""
