"""Secrets are known by value once they were used, and taken out of every line that leaves the program."""

import logging
import urllib.parse
from collections.abc import Mapping

HIDDEN = "***"
TELLING = 8

_values: set[str] = set()


def remember(secrets: Mapping[str, str]) -> None:
    """From now on these values, plain or as an address quotes them, are shown nowhere."""
    for value in secrets.values():
        if value:
            _values.update((value, urllib.parse.quote(value), urllib.parse.quote_plus(value)))


def redact(text: str) -> str:
    """The text with every known secret hidden."""
    for value in sorted(_values, key=len, reverse=True):  # the longest first: one may be part of another
        text = text.replace(value, HIDDEN)
    return text


def holds_secret(body: bytes) -> bool:
    """Whether bytes repeat a known secret; a short one stands in many texts by chance."""
    return any(value.encode() in body for value in _values if len(value) >= TELLING)


class RedactingFilter(logging.Filter):
    """Hides known secrets in what a logger is told; for loggers of libraries that write whole addresses."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass, its text redacted."""
        record.msg, record.args = redact(record.getMessage()), ()
        return True
