"""Countries by the names that people write."""

_CODES = {
    "austria": "AT", "belgium": "BE", "canada": "CA", "china": "CN", "denmark": "DK", "france": "FR", "germany": "DE",
    "greece": "GR", "italy": "IT", "japan": "JP", "netherlands": "NL", "norway": "NO", "poland": "PL", "russia": "RU",
    "spain": "ES", "sweden": "SE", "switzerland": "CH", "ukraine": "UA", "united kingdom": "GB", "uk": "GB",
    "united states": "US", "usa": "US", "us": "US",
}  # fmt: skip


def country_of(text: str) -> str | None:
    """The ISO 3166-1 alpha-2 code of the country that a place lies in, or None."""
    return _CODES.get(text.rpartition(",")[2].strip().lower())
