"""Beginning: make a node, invite another, take an invitation."""

from __future__ import annotations

import os
import pwd
from typing import TYPE_CHECKING, Annotated

import typer

from federation.cli.context import (
    Force,
    Json,
    become_owner,
    failing,
    node,
    now,
    settings,
    writing,
)
from federation.cli.output import (
    TEMPFAIL,
    USAGE,
    Failure,
    folded,
    print_json,
    say,
    typed,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from federation.config import Settings
    from federation.exchange.joining import Invitation
    from federation.exchange.session import Answer, Report
    from federation.node import Node

__all__ = ["register"]

_LEVELS = ("seen", "known", "trusted", "sole")
Name = Annotated[
    str,
    typer.Option(
        "--name", metavar="NAME", help="What your organisation is called: 'Our club'."
    ),
]
Contact = Annotated[
    str,
    typer.Option(
        "--contact", metavar="TEXT", help="Whom people may ask: a mail address."
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(init)
    app.command()(invite)
    app.command()(join)


def init(
    context: typer.Context,
    *,
    name: Name = "",
    network: Annotated[
        str,
        typer.Option(
            "--network", metavar="NET", help="Name of the new network: hosters-fr."
        ),
    ] = "",
    contact: Contact = "",
    as_json: Json = False,
) -> None:
    """Make a node that begins a network: keys, database, the network's pepper.

    To take part in a network that exists, only `join` is needed.
    """
    from federation.node import Node, Profile

    chosen = _ready(context)
    if not network:
        raise Failure(USAGE, "a network needs a name", "add --network hosters-fr")
    profile = Profile(name, contact, chosen.server.url)
    with failing(), Node.create(chosen, network, profile, now()) as made:
        made.add_pepper(os.urandom(32))
        result = {"name": name, "network": network, "org": _b64(made.org)}
        directory = made.directory
    if as_json:
        print_json(result)
        return
    say(folded(f"{name} is a node of the new network {network}."))
    say(f"Key: {result['org']}")
    _copy_hint(directory)
    _start_hint()
    say(f"Then: {typed('invite', 'NAME')}")


def invite(
    context: typer.Context,
    friend: Annotated[
        str, typer.Argument(metavar="NAME", help="What to call the other host here.")
    ],
    *,
    level: Annotated[
        str,
        typer.Option(
            "--level", metavar="LEVEL", help="seen, known, trusted or sole: see trust."
        ),
    ] = "known",
    as_json: Json = False,
) -> None:
    """Print an invitation: one word, good for one host and one week.

    Send it where nobody else reads. The daemon must run, and be reachable under
    [server] url.
    """
    from federation.exchange import joining

    _check_level(level)
    with node(context) as opened, failing():
        if not opened.settings.server.url:
            raise Failure(
                USAGE,
                "nobody can reach this host: [server] listen and url are not set",
                "set both in federation.toml, or let the other host invite you",
            )
        word = joining.invite(
            opened.replica,
            joining.Invitation(
                net=opened.net,
                org=opened.org,
                name=opened.name_of(opened.org),
                url=opened.settings.server.url,
                pin=opened.pin(),
                secret=os.urandom(16),
            ),
            level=level,
            name=friend,
            now=now(),
        )
    if as_json:
        print_json({"invitation": word, "level": level, "name": friend})
        return
    say(folded(f"For {friend}, who will be {level} here. Within a week, there:"))
    say()
    # In one piece: it is copied.
    say(f"mailshaper federation join {word} --name 'YOUR NAME'")


def join(
    context: typer.Context,
    invitation: Annotated[
        str, typer.Argument(metavar="INVITATION", help="The word that was sent.")
    ],
    *,
    name: Name = "",
    contact: Contact = "",
    level: Annotated[
        str,
        typer.Option(
            "--level",
            metavar="LEVEL",
            help="What the inviting host is here: seen, known, trusted or sole.",
        ),
    ] = "known",
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Take an invitation: make a node if there is none, and copy what is there."""
    from federation.exchange import joining
    from federation.node import Node, Profile

    _check_level(level)
    with failing():
        word = joining.Invitation.read(invitation)
    chosen = _ready(context)
    with failing():
        if not Node.exists(chosen):
            Node.create(
                chosen, word.net, Profile(name, contact, chosen.server.url), now()
            ).close()
    with node(context) as opened, failing():
        writing(opened, force=force)
        result = _join(opened, word, level)
    if as_json:
        print_json(result)
        return
    say(folded(f"{result['name']} is in: {result['peer']} is a peer and {level} here."))
    say(folded(f"{result['events']:,} events were copied. {result['problem']}".strip()))
    if (chosen.node.state_directory / "root.key").exists():
        _copy_hint(chosen.node.state_directory)
    _start_hint()
    say(f"Then: {typed('status')}")


def _join(opened: Node, word: Invitation, level: str) -> dict[str, object]:
    """Ask the inviting host, and make a first session with it."""
    import asyncio

    from federation.exchange import joining
    from federation.exchange.client import Client, Target, Unreachable
    from federation.exchange.session import Memory, PeerFault, Unavailable, session

    target = Target(word.url, word.pin)
    client = Client(opened.signer, opened.limits, now)
    name = opened.name_of(opened.org)
    url = opened.settings.server.url

    async def inside(work: Callable[[], object]) -> object:
        return work()

    async def ask() -> Answer:
        request = joining.ask(
            opened.replica, opened.own, word, name=name, url=url, pin=opened.pin()
        )
        async with client.connect(target) as http:
            return await client.ask(http, target, request)

    async def copy() -> Report:
        dialogue = session(opened.replica, word.org, Memory(), now)
        return await client.converse(target, dialogue, inside)

    try:
        answer = asyncio.run(ask())
        found = joining.joined(
            opened.replica, opened.own, word, answer, level=level, now=now()
        )
    except Unreachable as problem:
        raise Failure(
            TEMPFAIL,
            f"{word.url} cannot be reached: {problem}",
            "does its daemon run, and is its port open? The invitation stays good",
        ) from None
    except (Unavailable, PeerFault) as problem:
        raise Failure(
            USAGE, f"{word.name} did not let this host in: {problem}"
        ) from None
    for secret in reversed(found.peppers):
        opened.add_pepper(secret)
    events, trouble = 0, ""
    try:
        while True:
            report = asyncio.run(copy())
            events += report.pulled
            if not (report.behind and report.pulled):
                break
    except (Unreachable, Unavailable, PeerFault) as problem:
        trouble = f"The daemon copies the rest ({problem})."
    return {
        "name": name,
        "peer": found.name,
        "org": _b64(opened.org),
        "events": events,
        "problem": trouble,
    }


def _check_level(level: str) -> None:
    if level not in _LEVELS:
        raise Failure(USAGE, f"--level: {level!r} is none of {', '.join(_LEVELS)}")


def _ready(context: typer.Context) -> Settings:
    """Return the configuration; the directory is there and its owner's we are."""
    chosen = settings(context)
    directory = chosen.node.state_directory
    if os.geteuid() == 0 and not directory.exists():
        directory.mkdir(mode=0o700, parents=True)
        try:
            user = pwd.getpwnam("mailshaper")
        except KeyError:
            return chosen  # not the package: whoever runs the daemon is root, too
        os.chown(directory, user.pw_uid, user.pw_gid)
    become_owner(directory)
    return chosen


def _copy_hint(directory: Path) -> None:
    say(folded(f"Copy root.key and next-root.key from {directory} to a safe place."))


def _start_hint() -> None:
    say("Next: systemctl enable --now mailshaper-federation")


def _b64(data: bytes) -> str:
    from federation.format.profile import b64

    return b64(data)
