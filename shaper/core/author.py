"""Of which domains a message says that it is: those of its From field.

Stricter than a mail program that shows something of everything: where two programs may
read another author, both are meant. Pure.
"""

from __future__ import annotations

import re
from email.errors import ObsoleteHeaderDefect
from email.headerregistry import HeaderRegistry
from typing import Any

__all__ = ["author_domains"]

_PARSER: Any = HeaderRegistry()  # typeshed's classes exclude one another
_DOMAIN = re.compile(r"@\s*([^\s<>,;:()\"@]+)")
_LONGEST = 4096  # characters: some 100 authors


def author_domains(values: list[str]) -> list[str]:
    """Return the domain of each author, in lower case; none if it is not certain.

    ``values`` are the unfolded From fields. RFC 5322 3.6 wants exactly one. From an
    address list that has to be repaired every domain in it is returned, since two
    programs may repair it differently.
    """
    if len(values) != 1 or len(values[0]) > _LONGEST:
        return []
    text = values[0]
    try:
        field = _PARSER("From", text)
        # A dot in a display name is obsolete, and everywhere; so is a source route
        # (4.4), in which the first domain is not the author's.
        if "<@" not in text and all(
            isinstance(one, ObsoleteHeaderDefect) for one in field.defects
        ):
            return [one.domain.lower() for one in field.addresses]
    except Exception:  # noqa: BLE001, S110
        # Its parser raises what it likes: TypeError for " .;", UnboundLocalError for
        # "=@[ ", RecursionError, and whatever the next release does.
        pass
    return [domain.lower() for domain in _DOMAIN.findall(text)]
