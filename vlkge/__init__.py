"""vlkge: vision-language knowledge-graph embeddings on published multimodal knowledge graphs."""

from mkg_builder import __version__

__all__ = ["__version__"]
