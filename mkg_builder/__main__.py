"""`python -m mkg_builder` is mkgb."""

from mkg_builder.cli import main

main()
