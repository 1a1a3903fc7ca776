"""Secrets in addresses (s3://key:secret@..., ?token=...): kept out of everything that is shown or written."""

import re
from urllib.parse import unquote

HIDDEN = "***"

# Of a longer kind the last letters are enough to find the address; without a bound a long word takes the square of its length.
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,15}://[^\s'\"<>]+")
_SHORTEST = 6  # of a secret that is looked for by itself: shorter ones stand in other words
_known: set[str] = set()


def learn_secrets(address: str) -> None:
    """From now on `hide_secrets` also finds the secrets of this address where they stand alone, as in a library's messages."""
    user, query = _parts(address)
    secrets = {user, user.partition(":")[2], *(value.partition("=")[2] or value for value in query.split("&"))}
    _known.update(text for secret in secrets for text in (secret, unquote(secret)) if len(text) >= _SHORTEST)


def hide_secrets(text: str) -> str:
    """The text with `***` in the place of users, passwords and queries of addresses, and of secrets that were learnt."""
    text = _ADDRESS.sub(lambda match: _hidden(match[0]), text)
    for secret in sorted(_known, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return text


def _parts(address: str) -> tuple[str, str]:
    """What stands before the host, and the query; empty where there is none.

    A secret may hold "/" and "@", but then a key and ":" come before it; elsewhere "@" after a "/" is part of a name.
    """
    _, _, rest = address.partition("://")
    rest, _, query = rest.partition("?")
    user = re.match(r"([^/@:]*:.*|[^/@]*)@", rest)
    return (user[1] if user else ""), query


def _hidden(address: str) -> str:
    """One address, which may have the punctuation of a sentence after it."""
    bare = address.rstrip(".,:;)]}")
    after = address[len(bare) :]
    user, query = _parts(bare)
    kind, _, rest = bare.partition("://")
    rest = rest.partition("?")[0]
    return f"{kind}://{f'{HIDDEN}@' if user else ''}{rest[len(user) + 1 if user else 0 :]}{f'?{HIDDEN}' if query else ''}{after}"
