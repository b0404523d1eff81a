"""Write the manual pages out of the command line and the configuration.

    python -m scripts.manpages DIRECTORY

makes mailshaper.1 (the commands), mailshaper.toml.5 (every key), mailshaper-daemon.8
(running it), mailshaper-federation.1 and mailshaper-federation.toml.5. Nothing is kept
by hand but what neither knows: signals, files and exit statuses. Pages follow
man-pages(7); times are left out, so that the same source gives the same pages.
"""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from federation import config as federation_config
from federation.cli import app as federation_app
from shaper.cli.app import app
from shaper.config import sections
from shaper.config_sample import shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["pages"]

_Click = Any  # a command or context of the click inside typer, without public types

_STATUSES = {
    "0": "Done.",
    "64": "Wrong usage; nothing was changed.",
    "65": "There is no such case, sender or message.",
    "69": "The daemon does not run.",
    "70": "A bug in the daemon; its log has the details.",
    "71": "The daemon cannot have what it needs of the system, such as a port.",
    "75": "Try again later: Redis is away, the disk is full, or the answer was lost.",
    "77": "No permission for the admin socket.",
    "78": "The configuration is wrong.",
}
_FILES = {
    "/etc/mailshaper/mailshaper.toml": "The configuration, mailshaper.toml(5).",
    "/etc/mailshaper/conf.d/*.toml": "Read after it, in the order of their names.",
    "/run/mailshaper/admin.sock": "The admin socket.",
    "/var/lib/mailshaper/spool": "Held mail, one file each.",
    "/var/lib/mailshaper/audit": "The audit journal.",
    "/var/lib/mailshaper/contact.key": "The key of the memory of correspondents.",
    "/var/lib/mailshaper/redis": "The data of the daemon's own Redis.",
}
_FEDERATION_STATUSES = {
    "0": "Done; of lookup --quiet: allow.",
    "1": "Of lookup --quiet: caution; of conformance: a vector failed.",
    "2": "Of lookup --quiet: suppress.",
    "64": "Wrong usage; nothing was changed.",
    "65": "Nothing of what was given could be used.",
    "66": "The database cannot be used.",
    "71": "The system refuses what the daemon needs, such as a port.",
    "75": "Try again later: the peer cannot be reached, or the disk is full.",
    "78": "The configuration is wrong, or there is no node yet.",
}
_FEDERATION_FILES = {
    "/etc/mailshaper/federation.toml": "The configuration, "
    "mailshaper-federation.toml(5).",
    "/var/lib/mailshaper-federation/federation.sqlite": "Every event, and what this "
    "host learned itself.",
    "/var/lib/mailshaper-federation/node.key": "The key of this machine.",
    "/var/lib/mailshaper-federation/root.key": "The key of the organisation; a copy "
    "belongs elsewhere.",
    "/var/lib/mailshaper-federation/next-root.key": "Its successor; belongs elsewhere.",
}
_SIGNALS = {
    "SIGHUP": "Read the configuration again. No connection is dropped; a wrong "
    "configuration changes nothing; keys that need a restart are named in the log.",
    "SIGTERM, SIGINT": "Stop: no new connections, open ones get daemon.grace seconds.",
}


def pages() -> dict[str, str]:
    """Return the pages by file name."""
    return {
        "mailshaper.1": "\n".join(_commands()) + "\n",
        "mailshaper.toml.5": "\n".join(_keys()) + "\n",
        "mailshaper-daemon.8": "\n".join(_daemon()) + "\n",
        "mailshaper-federation.1": "\n".join(_federation()) + "\n",
        "mailshaper-federation.toml.5": "\n".join(_federation_keys()) + "\n",
    }


def _commands() -> Iterator[str]:
    group: _Click = typer.main.get_command(app)
    context = group.make_context("mailshaper", [], resilient_parsing=True)
    yield from _head("MAILSHAPER", 1, "mailshaper", "look after outbound mail")
    yield ".SH SYNOPSIS"
    yield f".B mailshaper\n{_text(' '.join(group.collect_usage_pieces(context)))}"
    yield ".SH DESCRIPTION"
    yield _prose(group.help)
    yield _prose(
        "Every change needs --reason, and has --dry-run; every read has --json."
    )
    yield from _options_and_commands("mailshaper", group, context)
    yield from _list("EXIT STATUS", _STATUSES)
    yield from _list(
        "ENVIRONMENT",
        {
            "MAILSHAPER_SOCKET": "The admin socket, unless --socket names it.",
            "MAILSHAPER_CONFIG": "The configuration, unless --config names it.",
        },
    )
    yield from _list("FILES", dict(list(_FILES.items())[:3]))
    yield ".SH SEE ALSO\n.BR mailshaper.toml (5),\n.BR mailshaper\\-daemon (8),"
    yield ".BR mailshaper\\-federation (1)"


def _options_and_commands(name: str, group: _Click, context: _Click) -> Iterator[str]:
    """Give options and commands of a program."""
    yield ".SH OPTIONS"
    yield from _parameters(group, context)
    yield ".SH COMMANDS"
    for words, command, inner in _walk(group, context):
        yield f".SS {_text(words)}"
        usage = " ".join(command.collect_usage_pieces(inner))
        yield f".B {_text(name)} {_text(words)}\n{_text(usage)}\n.PP"
        yield _prose(command.help or "")
        yield from _parameters(command, inner)


def _federation() -> Iterator[str]:
    name = "mailshaper-federation"
    group: _Click = typer.main.get_command(federation_app)
    context = group.make_context(name, [], resilient_parsing=True)
    yield from _head(name.upper(), 1, name, "signed signals between mail hosts")
    yield ".SH SYNOPSIS"
    yield f".B {_text(name)}\n{_text(' '.join(group.collect_usage_pieces(context)))}"
    yield ".SH DESCRIPTION"
    yield _prose(group.help)
    yield _prose(
        "Also to be had as mailshaper federation. Commands work on the node's "
        "directory, whether its daemon runs or not; run as root they go on as the user "
        "to whom it belongs. What shows something has --json."
    )
    yield from _options_and_commands(name, group, context)
    yield from _list("EXIT STATUS", _FEDERATION_STATUSES)
    yield from _list(
        "ENVIRONMENT",
        {
            "MAILSHAPER_FEDERATION_CONFIG": "The configuration, unless --config "
            "names it.",
        },
    )
    yield from _list("FILES", _FEDERATION_FILES)
    yield ".SH SEE ALSO\n.BR mailshaper\\-federation.toml (5),\n.BR mailshaper (1)"


def _federation_keys() -> Iterator[str]:
    name = "mailshaper-federation.toml"
    yield from _head(name.upper(), 5, name, "configuration of a federation node")
    yield ".SH DESCRIPTION"
    yield _prose(
        "TOML, with a table for each section. The environment wins over it: "
        "MAILSHAPERFED_SECTION__KEY=value, lists as JSON. A key that does not exist is "
        "an error. Check with mailshaper federation status."
    )
    yield from _sections(federation_config.sections())
    yield from _list("FILES", dict(list(_FEDERATION_FILES.items())[:1]))
    yield ".SH SEE ALSO\n.BR mailshaper\\-federation (1)"


def _walk(
    group: _Click, context: _Click, before: str = ""
) -> Iterator[tuple[str, _Click, _Click]]:
    """Return the commands with their full names, late ones imported."""
    # Not list_commands: what other packages add has pages of its own.
    for word in group.commands:
        _, command, _ = group.resolve_command(context, [word])
        name = f"{before} {word}".strip()
        inner = command.context_class(command, parent=context, info_name=word)
        if not hasattr(command, "list_commands"):
            yield name, command, inner
            continue
        if command.invoke_without_command:  # it does something alone
            yield name, command, inner
        yield from _walk(command, inner, name)


def _parameters(command: _Click, context: _Click) -> Iterator[str]:
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None and parameter.name != "help":
            names, text = record
            names = names.removesuffix(" <str>").removesuffix(" <list[str]>")
            yield f".TP\n.B {_text(names)}\n{_text(text) or '.br'}"


def _keys() -> Iterator[str]:
    name = "mailshaper.toml"
    yield from _head("MAILSHAPER.TOML", 5, name, "configuration of mailshaper")
    yield ".SH DESCRIPTION"
    yield _prose(
        "TOML, with a table for each section. Files in conf.d/*.toml beside it are "
        "read after it, in the order of their names; a later value wins. The "
        "environment wins over both: MAILSHAPER_SECTION__KEY=value, lists as JSON. A "
        "key that does not exist is an error. Check with mailshaper check-config. "
        "Times are seconds, sizes octets."
    )
    yield from _sections(sections())
    yield from _list("FILES", dict(list(_FILES.items())[:2]))
    yield ".SH SEE ALSO\n.BR mailshaper (1),\n.BR mailshaper\\-daemon (8)"


def _sections(kinds: Mapping[str, Any]) -> Iterator[str]:
    for section, kind in kinds.items():
        yield f".SH [{_text(section)}]"
        yield _prose(inspect.getdoc(kind) or "")
        for key, field in kind.model_fields.items():
            default = shown(field.get_default(call_default_factory=True))
            yield f'.TP\n.BR {_text(key)} " = {_text(default)}"'
            yield _text(" ".join((field.description or "").split()))


def _daemon() -> Iterator[str]:
    yield from _head(
        "MAILSHAPER-DAEMON", 8, "mailshaper-daemon", "the shaper in the mail path"
    )
    yield ".SH SYNOPSIS\n.B mailshaper daemon\n[\\-\\-config FILE]"
    yield ".SH DESCRIPTION"
    yield _prose(
        "Takes mail from the local MTA by SMTP, judges it against what its sender "
        "usually sends, and passes it on, or holds it in its spool. Runs in the "
        "foreground; systemd starts it as mailshaper.service and is told when it is "
        "ready. Without redis.url it starts a redis-server of its own."
    )
    yield from _list("SIGNALS", _SIGNALS)
    yield from _list("EXIT STATUS", {k: _STATUSES[k] for k in ("0", "71", "78")})
    yield from _list("FILES", _FILES)
    yield ".SH SEE ALSO\n.BR mailshaper (1),\n.BR mailshaper.toml (5)"


def _head(title: str, section: int, name: str, what: str) -> Iterator[str]:
    yield f'.TH {_text(title)} {section} "" mailshaper "mailshaper manual"'
    # No hyphenation and no filling to the right: names are to be found and copied.
    yield ".nh\n.ad l"
    yield f".SH NAME\n{_text(name)} \\- {_text(what)}"


def _list(title: str, items: dict[str, str]) -> Iterator[str]:
    yield f".SH {title}"
    for name, text in items.items():
        yield f".TP\n.B {_text(name)}\n{_text(text)}"


def _prose(text: str) -> str:
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n.PP\n".join(_text(" ".join(p.split())) for p in paragraphs)


def _text(text: str) -> str:
    """Return a line of text in which roff sees no request and no escape."""
    shown_text = text.replace("\\", "\\e").replace("-", "\\-")
    shown_text = shown_text.replace('"', "\\(dq").replace("^", "\\(ha")
    shown_text = shown_text.replace("~", "\\(ti").replace("`", "\\(ga")
    return f"\\&{shown_text}" if shown_text[:1] in {".", "'"} else shown_text


def main() -> None:
    """Write the pages into the directory that is named."""
    if len(sys.argv) != 2:  # noqa: PLR2004 - the program and one argument
        sys.exit("usage: python -m scripts.manpages DIRECTORY")
    directory = Path(sys.argv[1])
    directory.mkdir(parents=True, exist_ok=True)
    for name, page in pages().items():
        (directory / name).write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
