"""What the licences of a dataset's assets forbid, in a few words: for people, and no legal advice."""

import re

_CREATIVE = {
    "NC": "commercial use",
    "ND": "passing on changed versions, such as these images",
    "SA": "passing on under other terms",
    "BY": "leaving out the author's name",
}
_CREATIVE_NAMES = {
    "BY": r"\bby\b|attribution",
    "NC": r"\bnc\b|non-?commercial",
    "ND": r"\bnd\b|no-?deriv",
    "SA": r"\bsa\b|share-?alike",
}

UNKNOWN = "not known to this program: read the licence"


def forbidden_by(licence: str) -> str:
    """What one licence forbids; `licence` is a line of an index or of a background's label, from whoever wrote it."""
    text = licence.lower()
    if re.search(r"\bcc0\b|public domain|\bpd\b|no known copyright|unlicense", text):
        return "nothing"
    if re.search(r"\bcc\b|\bcc-|creative ?commons|attribution", text):
        found = [words for key, words in _CREATIVE.items() if re.search(_CREATIVE_NAMES[key], text)]
        return "; ".join(found) or UNKNOWN
    found = []
    if re.search(r"non-?commercial|research (purposes )?only|academic", text):
        found += ["commercial use", "training a commercial product with it"]
    if re.search(r"no redistribution|not be redistributed", text):
        found.append("passing the asset itself on")
    if found:
        return "; ".join(found)
    if re.search(r"apache|\bmit\b|\bbsd\b", text):
        return "leaving out the licence and its notices"
    return UNKNOWN
