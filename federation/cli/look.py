"""Commands that show: status, log, lookup, explain, scores, benefit, export."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from federation.cli.context import Json, daemon_state, failing, node, now
from federation.cli.output import (
    USAGE,
    Failure,
    ago,
    clock,
    folded,
    percent,
    print_json,
    say,
    table,
    typed,
)

__all__ = ["register"]

_STATUS = {"allow": 0, "caution": 1, "suppress": 2}
_WORDS = {"allow": "write to it", "caution": "hold bulk mail", "suppress": "do not"}


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (status, log, lookup, explain, scores, benefit, export):
        app.command()(command)


def status(context: typer.Context, *, as_json: Json = False) -> None:
    """Show how this node is: daemon, peers, lag, forks, quotas, clock."""
    from federation import views

    with node(context) as opened:
        found = views.status(opened, daemon_state(opened), now())
        met = list(views.peers(opened))
    if as_json:
        print_json({**found, "peers": met})
        return
    for line in _status(found, met):
        say(folded(line, " " * 12))


def _status(found: dict[str, Any], met: list[dict[str, Any]]) -> list[str]:
    daemon = found["daemon"]
    events = found["events"]
    silent = [one["name"] for one in met if one["problem"]]
    levels = sorted(found["organisations"].items())
    known = ", ".join(f"{n} {level}" for level, n in levels)
    trouble = f", in trouble: {', '.join(silent)}" if silent else ""
    size = f"{found['bytes'] / 1e6:.1f} MB"
    runs = f"runs, pid {daemon['pid']}" if daemon.get("runs") else "does not run"
    lines = [
        f"node        {found['name']}, network {found['network']}",
        f"key         {found['org']}",
        f"daemon      {runs}",
        f"address     {found['url'] or 'none: this host asks, nobody asks it'}",
        f"peers       {len(met)}{trouble}",
        f"known       {known or 'nobody'}",
    ]
    lines.append(
        f"events      {sum(events.values()):,}: {events['c']:,} identity, "
        f"{events['h']:,} hard, {events['s']:,} soft; {size}"
    )
    lines.append(
        f"waiting     {found['outbox']:,} own to be published, "
        f"{found['parked']:,} of others parked"
    )
    if daemon.get("runs"):
        lines.append(f"lag         {daemon.get('missing', 0):,} events missing here")
        offset = daemon.get("clock")
        lines.append(
            "clock       " + ("no peer met yet" if offset is None else f"{offset:+d} s")
        )
        lines += _held_up(daemon)
    for one in found["forks"]:
        more = f"; {one['frozen']}" if one["frozen"] else ""
        lines.append(
            f"fork        {one['name']}: log {one['stream']}/{one['incarnation']} "
            f"at {one['seq']}{more}"
        )
    lines += [
        f"quota       {one['name']} used {one['used']:.0%} of what it may add now"
        for one in found["quotas"]
    ]
    lines += [
        f"audit       {one['name']} keeps {one['share'] / 10:.0f} % of its weight"
        for one in found["lowered"]
    ]
    if not found["remote_counts"]:
        until = clock(found["breaker_until"])
        lines.append(f"breaker     open until {until}: others count for nothing")
    if not found["peppers"]:
        lines.append("pepper      none: no address has a tag; join a network")
    if found["root_key_here"]:
        lines.append(
            "root key    on this machine; a copy belongs elsewhere, with next-root.key"
        )
    return lines


def _held_up(daemon: dict[str, Any]) -> list[str]:
    """Say why the daemon takes nothing in or writes nothing, and what to do."""
    lines = []
    if daemon.get("stopped"):
        lines.append(
            f"STOPPED     {daemon['stopped']}: nothing is taken in, written or "
            "expired until it is right"
        )
    if not daemon.get("settled"):
        lines.append(
            "NOT YET     no peer was reached since the start: own events wait, at the "
            "longest a quarter of an hour"
        )
    if daemon.get("publishing"):
        lines.append(f"NOT WRITING {daemon['publishing']}")
    return lines


def log(
    context: typer.Context,
    *,
    org: Annotated[
        str, typer.Option("--org", metavar="ORG", help="Only of this organisation.")
    ] = "",
    kind: Annotated[
        str, typer.Option("--kind", metavar="KIND", help="Only this: rcpt.hard ...")
    ] = "",
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", help="How many.", min=1, max=100000)
    ] = 20,
    as_json: Json = False,
) -> None:
    """Show the newest events, in order of arrival."""
    from federation import views

    with node(context) as opened, failing():
        whose = opened.org_of(org) if org else None
        rows = list(views.log(opened, org=whose, kind=kind, limit=limit))
    if as_json:
        for row in rows:
            print_json(row)
        return
    table(
        (">age", "organisation", "level", "log", "kind", "what"),
        [
            (
                ago(row["received"], now()),
                row["name"],
                row["level"],
                f"{row['stream']}/{row['seq']}",
                row["kind"],
                _said(row),
            )
            for row in rows
        ],
        flexible=5,
    )


def _said(row: dict[str, Any]) -> str:
    if row["ended"]:
        return "(after the end of its log)"
    if not row["form"]:
        return "(unknown form, no weight)"
    return " ".join(f"{key}={value}" for key, value in row["body"].items())


def lookup(
    context: typer.Context,
    addresses: Annotated[
        list[str],
        typer.Argument(metavar="ADDRESS...", help="Mail addresses, or - for a pipe."),
    ],
    *,
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet",
            "-q",
            help="Print nothing; exit 0 allow, 1 caution, 2 suppress (the worst).",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Say what follows for mail to addresses: allow, caution or suppress."""
    from federation import views

    worst = 0
    with node(context) as opened, failing():
        listed = (
            (line.strip() for line in sys.stdin if line.strip())
            if addresses == ["-"]
            else addresses
        )
        for address in listed:
            found = views.lookup(opened, address, now())
            worst = max(worst, _STATUS[found["outcome"]])
            if as_json:
                print_json(found)
            elif not quiet:
                by = f", says {', '.join(found['by'])}" if found["by"] else ""
                why = f"{found['outcome']:<8}  {address}  ({found['why']}{by})"
                say(folded(why, " " * 10))
    if quiet:
        raise typer.Exit(worst)


def explain(
    context: typer.Context,
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="A mail address.")],
    *,
    as_json: Json = False,
) -> None:
    """Say who claims what about an address, with which weight, and what follows."""
    from federation import views

    with node(context) as opened, failing():
        found = views.explain(opened, address, now())
        rule = opened.settings.decision
    if as_json:
        print_json(found)
        return
    outcome = found["outcome"]
    say(folded(f"{address}: {outcome}, {_WORDS[outcome]}."))
    say(folded(f"Because {found['why']} (rule {found['rule']})."))
    say(
        folded(
            f"Evidence of others: {found['evidence_milli'] / 1000:.1f}; caution from "
            f"{rule.caution}, suppress from {rule.suppress} and {rule.quorum} groups."
        )
    )
    if not found["remote_counts"]:
        say("The breaker is open: what others say counts for nothing now.")
    if found["claims"]:
        say()
        table(
            ("organisation", "level", "group", "claims", ">age", ">fresh", ">now"),
            [
                (
                    one["name"],
                    one["level"],
                    one["group"] or "-",
                    f"{one['kind']} {one['code']}".strip(),
                    ago(one["at"], now()),
                    str(one["fresh_weight"]),
                    f"{one['weight_milli'] / 1000:.1f}" if one["lives"] else "over",
                )
                for one in found["claims"]
            ],
            flexible=0,
        )
    if found["own_evidence"]:
        say()
        for one in found["own_evidence"]:
            say(f"Our own: {one['what']}, {clock(one['at'])}")
    for one in found["as_sender"]:
        say()
        say(
            folded(
                f"As a sender it was stopped by {', '.join(one['by'])} "
                f"({one['why']}), until {clock(one['until'])}. Nothing is blocked "
                "here because of it."
            )
        )
    if outcome != "allow":
        say()
        say(f"It lives all the same? {typed('report', address, '--alive')}")


def scores(
    context: typer.Context,
    *,
    days: Annotated[
        int,
        typer.Option("--days", metavar="N", help="Of how many days.", min=1, max=30),
    ] = 30,
    as_json: Json = False,
) -> None:
    """Show each organisation's own numbers, and how its claims fared here.

    What it says about its own mail is a claim and gives it nothing.
    """
    from federation import views

    with node(context) as opened, failing():
        rows = list(views.scores(opened, now(), days))
    if as_json:
        for row in rows:
            print_json(row)
        return
    table(
        (
            "organisation", "level", ">sent", ">bounced", ">complaints",
            ">checked", ">wrong", ">weight",
        ),
        [
            (
                row["name"],
                row["level"],
                f"{row['sent']:,}",
                percent(row["bounce_ratio"]),
                percent(row["complaint_ratio"]),
                f"{row['met']:,}",
                f"{row['contradicted']:,}" + ("!" if row["canary"] else ""),
                f"{row['share'] / 10:.0f} %",
            )
            for row in rows
        ],
        flexible=0,
    )  # fmt: skip
    say()
    say("sent to complaints: as it says itself. checked: addresses that it called dead")
    say("and our own mail tried; wrong: taken there (!: a living address of ours).")


def benefit(context: typer.Context, *, as_json: Json = False) -> None:
    """Show what each origin's claims spared this host, so whether sharing helps."""
    from federation import views

    with node(context) as opened, failing():
        rows = list(views.benefit(opened, now()))
    if as_json:
        for row in rows:
            print_json(row)
        return
    if not rows:
        say("Our own mail has not met anything yet that others claimed.")
        return
    table(
        ("organisation", "level", ">stopped", ">alone", ">right", ">wrong", ">spared"),
        [
            (
                row["name"],
                row["level"],
                f"{row['stopped']:,}",
                f"{row['alone']:,}",
                f"{row['right']:,}",
                f"{row['wrong']:,}",
                "n/a" if row["spared"] is None else f"{row['spared']:,}",
            )
            for row in rows
        ],
        flexible=0,
    )
    say()
    say("stopped: recipients not written to because of it; alone: nobody else said so.")
    say("right, wrong: addresses where our own mail bounced, or was taken, after its")
    say("claim. spared: bounces, by its share of right ones; n/a below 20 of them.")


def export(
    context: typer.Context,
    *,
    org: Annotated[
        str, typer.Option("--org", metavar="ORG", help="Only of this organisation.")
    ] = "",
) -> None:
    """Write every stored event as its signed line, log by log.

    Whoever has the protocol's text can check them: federation/PROTOCOL.md 3.
    """
    from federation.log.chain import LogKey

    with node(context) as opened, failing():
        whose = opened.org_of(org) if org else None
        if sys.stdout.isatty():
            raise Failure(USAGE, "these are many long lines", "add > FILE")
        for entry in opened.store.vector(org=whose):
            first = entry.floor + 1
            while first <= entry.head:
                lines = opened.store.lines(
                    LogKey(*entry[:3]), first, entry.head, most=1000, size=1 << 20
                )
                if not lines:
                    break
                sys.stdout.write(b"".join(lines).decode("ascii"))
                first += len(lines)
