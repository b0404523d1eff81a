"""Tab completion: names from the daemon, as a shell may safely take them.

A shell puts an offered name on the command line as it is, so a name is offered
only when no shell would read anything into it: an envelope sender may hold
backquotes (atext, RFC 5322 3.2.3), and Enter would run what stands between them.
Such a sender is reached by its case.

bash cuts words at ``:``, ``@`` and ``=`` (COMP_WORDBREAKS) and replaces only what
follows the last cut, which typer's script does not know: the pieces are joined
before typer reads them, and what is on the line already is left out afterwards.
An ``@`` is itself replaced (rl_special_prefixes of readline).
"""

from __future__ import annotations

import io
import sys
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING

from shaper.cli.output import shell

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, MutableMapping

__all__ = ["joined", "mended", "offered"]

_BREAKS = frozenset(":@=")


def offered(names: Iterable[str], incomplete: str) -> list[str]:
    """Return the names that begin so and can be typed as they are."""
    return [
        name for name in names if name.startswith(incomplete) and shell(name) == name
    ]


def joined(pieces: list[str]) -> tuple[list[str], str]:
    """Join what bash cut; also return what it keeps of the last word."""
    words: list[str] = []
    kept = ""
    glue = False
    for piece in pieces:
        cut = bool(piece) and set(piece) <= _BREAKS
        if words and (cut or glue):
            kept = (words[-1] + piece if cut else words[-1]).removesuffix("@")
            words[-1] += piece
        else:
            kept = ""
            words.append(piece)
        glue = cut
    return words, kept


@contextmanager
def mended(environ: MutableMapping[str, str]) -> Iterator[None]:
    """Mend words and answer of a completion by bash; else change nothing."""
    kept = _mend(environ) if _asked(environ) else ""
    if not kept:
        yield
        return
    answer = io.StringIO()
    try:
        with redirect_stdout(answer):
            yield
    finally:
        for name in answer.getvalue().splitlines():
            sys.stdout.write(name.removeprefix(kept) + "\n")


def _asked(environ: MutableMapping[str, str]) -> bool:
    # The name that typer makes of the program's name.
    return environ.get("_MAILSHAPER_COMPLETE") == "complete_bash"


def _mend(environ: MutableMapping[str, str]) -> str:
    """Join the words for typer; return what bash keeps of the last one."""
    cursor = environ.get("COMP_CWORD", "")
    if not cursor.isdecimal():
        return ""
    # typer's script joins the words with line ends, so blanks are part of a word.
    pieces = environ.get("COMP_WORDS", "").split("\n")[: int(cursor) + 1]
    words, kept = joined(pieces)
    if len(words) == len(pieces):
        return ""
    environ["COMP_WORDS"] = "\n".join(words)
    environ["COMP_CWORD"] = str(len(words) - 1)
    # click completes only the value of --option=value.
    return kept.partition("=")[2] if kept.startswith("--") else kept
