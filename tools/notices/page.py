"""Write docs/notices.md's examples: ``python -m tools.notices.page``.

What stands between two markers in the page is replaced; the rest is written by hand.
"""

from __future__ import annotations

import json
import re
from datetime import UTC
from pathlib import Path

from shaper.engine.outbox import SCHEMA
from shaper.notify.mail import Composer, NoticeSettings
from shaper.telling import describe
from tools.notices.__main__ import AT, case, example

DOCS = Path(__file__).parents[2] / "docs"
_MARKED = re.compile(r"(<!-- (\S+) -->\n)(.*?)(<!-- end -->\n)", re.DOTALL)


def event() -> str:
    """Return an event as the webhook POSTs it, indented."""
    settings = NoticeSettings((), "m@hoster.example", zone=UTC)
    made = case()
    facts = describe(
        Composer(settings, "mail.hoster.example"), made, (8, 24), first=True
    )
    head = {
        "schema": SCHEMA,
        "id": f"{made.id}.{made.untold}",
        "event": "case.opened",
        "at": AT + 0.6,
        "instance": "main",
        "hostname": "mail.hoster.example",
    }
    return json.dumps(head | facts, indent=2, ensure_ascii=False)


def filled(text: str) -> str:
    """Return a page with its examples written anew."""

    def write(found: re.Match[str]) -> str:
        name = found[2]
        if name == "event":
            body = f"```json\n{event()}\n```\n"
        else:
            kind, language = name.split("-")
            body = f"```\n{example(language, kind)}```\n"
        return found[1] + body + found[4]

    return _MARKED.sub(write, text)


def main() -> None:
    """Fill the pages."""
    for name in ("notices.md", "webhook.md"):
        path = DOCS / name
        path.write_text(filled(path.read_text()))


if __name__ == "__main__":
    main()
