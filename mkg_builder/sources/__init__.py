"""The sources that ship with the package."""
