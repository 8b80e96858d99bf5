"""WikiArt made up from a seed, one run of a crawl of it, and what its logs prove."""
