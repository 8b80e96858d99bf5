"""Text from outside, safe inside Markdown."""

import re

_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def cell(text: object) -> str:
    """Text from outside, safe in a Markdown table: no markup, no HTML, one line, nothing that cannot be seen."""
    flat = _UNSEEN.sub("\ufffd", " ".join(str(text).split()))
    for sign in "\\`*_{}[]()#+!|~":
        flat = flat.replace(sign, "\\" + sign)
    return flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def code(text: object) -> str:
    """An address or a hash in a Markdown table, as it is and not as a link."""
    return "`" + " ".join(str(text).split()).replace("`", "'").replace("|", "%7C") + "`"
