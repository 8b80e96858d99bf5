"""`python -m vlkge` is vlkge."""

from vlkge.cli import main

main()
