"""The commented configuration file, written from the declarations of the keys.

``python -m shaper.config_sample`` prints it; a test compares it with the committed
``conf/mailshaper.toml``.
"""

from __future__ import annotations

import sys
from typing import Any

from shaper.config import sections
from shaper.settings import Friend, Relay

__all__ = ["sample", "shown"]

_EXAMPLES = {
    "next_hop": "relay.example.net:25",
    "password_file": "/etc/mailshaper/friend.password",
    "domains": ["asso.example"],
}


def sample() -> str:
    """Return the commented configuration file with every key at its default."""
    lines = [
        "# mailshaper: every key with its default. Remove the # to change one.",
        "# Times are seconds, sizes octets. Files in conf.d/*.toml beside this one",
        "# are read after it, in the order of their names; the environment wins:",
        "# MAILSHAPER_SECTION__KEY=value. Check with: mailshaper check-config",
    ]
    for section, kind in sections().items():
        lines += ["", f"# {(kind.__doc__ or '').strip()}", f"[{section}]"]
        for key, item in kind.model_fields.items():
            text = " ".join((item.description or "").split())
            lines += ["", *_comment(text)]
            default = item.get_default(call_default_factory=True)
            lines.append(f"#{key} = {shown(default)}")
    for name, kind in (("friends", Friend), ("relays", Relay)):
        lines += ["", f"# {(kind.__doc__ or '').strip()}", f"# [{name}.NAME]"]
        for key, item in kind.model_fields.items():
            text = " ".join((item.description or "").split())
            given = _EXAMPLES[key] if item.is_required() else item.default
            lines += ["", *_comment(text), f"# {key} = {shown(given)}"]
    return "\n".join(lines) + "\n"


def _comment(text: str) -> list[str]:
    lines, line = [], "#"
    for word in text.split():
        if len(line) + len(word) + 1 > 79:  # noqa: PLR2004 - a terminal's width
            lines.append(line)
            line = "#"
        line += " " + word
    return [*lines, line]


def shown(value: Any) -> str:  # noqa: ANN401
    """Return a value as TOML writes it."""
    if value is None:
        return '""'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "[" + ", ".join(map(shown, value)) + "]"
    if isinstance(value, int | float):
        return str(value)
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'


if __name__ == "__main__":
    sys.stdout.write(sample())
