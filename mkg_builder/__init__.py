"""mkgb: from raw answers of cultural-heritage sources to versioned multimodal knowledge graphs."""

__version__ = "0.1.0"
