"""explore: a release, walked through in a browser on this machine."""
