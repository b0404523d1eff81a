"""Commands that tell something: report, rebuild, breaker."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer

from federation.cli.context import Force, Json, failing, node, now, writing
from federation.cli.output import (
    USAGE,
    Failure,
    folded,
    moment,
    print_json,
    say,
    typed,
)

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(report)
    app.command()(rebuild)
    app.command()(breaker)


def report(
    context: typer.Context,
    address: Annotated[
        str,
        typer.Argument(
            metavar="ADDRESS", help="Whom it is about; - takes facts as JSON lines."
        ),
    ],
    *,
    code: Annotated[
        str,
        typer.Option(
            "--code", metavar="CODE", help="Enhanced status of the bounce: 5.1.1."
        ),
    ] = "",
    smtp: Annotated[
        int, typer.Option("--smtp", metavar="N", help="Reply code.", min=0, max=599)
    ] = 0,
    dsn: Annotated[
        bool, typer.Option("--dsn", help="It came later by mail, not in the session.")
    ] = False,
    provider: Annotated[
        str, typer.Option("--provider", metavar="NAME", help="Who said so: gmail.")
    ] = "",
    alive: Annotated[
        bool, typer.Option("--alive", help="The address lives, as its owner says.")
    ] = False,
    delivered: Annotated[
        bool, typer.Option("--delivered", help="Our mail was taken there.")
    ] = False,
    blocked: Annotated[
        str,
        typer.Option(
            "--blocked",
            metavar="WHY",
            help="It is a sender of ours that was stopped: compromised, spam, "
            "volume, bounces or complaints.",
        ),
    ] = "",
    until: Annotated[
        str, typer.Option("--until", metavar="WHEN", help="End of --blocked: 7d.")
    ] = "7d",
    released: Annotated[
        bool, typer.Option("--released", help="That sender is free again.")
    ] = False,
    at: Annotated[
        str, typer.Option("--at", metavar="WHEN", help="When: 2h is two hours ago.")
    ] = "now",
    at_once: Annotated[
        bool,
        typer.Option(
            "--at-once",
            help="Publish without the random wait that keeps others from matching "
            "it with a message.",
        ),
    ] = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Tell the federation what this host saw: a bounce, a delivery, a stopped sender.

    For hosts without the shaper, which does it by itself. Only statuses that speak
    of the mailbox are published, each address once a day.
    """
    chosen = [bool(code), alive, delivered, bool(blocked), released]
    if address != "-" and sum(chosen) != 1:
        raise Failure(
            USAGE,
            "say what happened, one thing",
            "--code 5.1.1, --delivered, --alive, --blocked compromised or --released",
        )
    _check_code(code)
    with node(context) as opened, failing():
        if at_once:
            writing(opened, force=force)
        time = moment(at, "--at")
        if address == "-":
            facts = [line.strip().encode() for line in sys.stdin if line.strip()]
        else:
            fact: dict[str, Any]
            opened.named(address)
            if code:
                fact = {
                    "kind": "soft" if code.startswith("4") else "bounce",
                    "address": address,
                    "code": code,
                    "smtp": smtp,
                    "via": "dsn" if dsn else "smtp",
                    "provider": provider,
                }
                if code == "5.2.2":  # a full mailbox is alive
                    fact["kind"] = "soft"
            elif blocked or released:
                # The case is kept: it names nobody.
                case = opened.case_of(address)
                fact = {"kind": "released", "case": case}
                if blocked:
                    fact = {
                        "kind": "blocked",
                        "sender": address,
                        "why": blocked,
                        "until": moment(until, "--until", ahead=True),
                        "case": case,
                    }
            else:
                kind = "override" if alive else "delivered"
                fact = {"kind": kind, "address": address}
            facts = [json.dumps({"v": 1, "at": time, **fact}).encode()]
        result = opened.report(facts, now(), at_once=at_once)
    if as_json:
        print_json(result)
    else:
        _tell(result)
    if result["refused"] and not result["taken"]:
        raise typer.Exit(65)  # EX_DATAERR


def _check_code(code: str) -> None:
    from federation.format.kinds import is_status

    if code and not is_status(code):
        raise Failure(
            USAGE,
            f"--code {code!r} is no enhanced status code of a bounce (RFC 3463)",
            "such as 5.1.1; without one write 5.0.0 for a refusal, 4.0.0 for a delay",
        )


def _tell(result: dict[str, Any]) -> None:
    for why, count in sorted(result["refused"].items()):
        say(folded(f"{count:,} left out: {why}."))
    if not result["taken"]:
        return
    say(f"{result['taken']:,} taken as own evidence.")
    if result["published"]:
        kinds = ", ".join(f"{n} {kind}" for kind, n in result["published"].items())
        say(f"Published: {kinds}.")
    elif result["waiting"]:
        say(f"{result['waiting']:,} to be published within a quarter of an hour.")
    else:
        say("Nothing of it is for others: docs/federation.md tells what is.")


def rebuild(context: typer.Context, *, as_json: Json = False) -> None:
    """Compute everything again that follows from the stored events.

    The daemon then writes all verdicts into Redis anew. Nothing is lost by it.
    """
    from federation.log import housekeeping

    with node(context) as opened, failing():
        count = housekeeping.rebuild(opened.store)
        opened.store.bump_epoch()
    if as_json:
        print_json({"events": count})
        return
    say(f"{count:,} events were read again.")
    say("The daemon writes the verdicts anew now, if it runs.")


def breaker(
    context: typer.Context,
    *,
    close: Annotated[
        bool,
        typer.Option("--close", help="Believe others again: you have looked at it."),
    ] = False,
) -> None:
    """Show whether what others say counts, and close the breaker."""
    from federation.cli.output import clock

    with node(context) as opened, failing():
        if close:
            opened.judge.close_breaker(now())
        until = opened.judge.breaker_until
        stops = len(opened.evidence.stops(now() - 3600))
    say(f"Recipients stopped only because of others, last hour: {stops:,}.")
    if until > now():
        say(f"The breaker is open until {clock(until)}: they count for nothing.")
        say(f"Next: {typed('benefit')}, then {typed('breaker', '--close')}")
    else:
        say("The breaker is closed: what others say counts.")
