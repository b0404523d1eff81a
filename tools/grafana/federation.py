"""The dashboard of the federation, of its own daemon with its own metrics."""

from __future__ import annotations

from tools.grafana.model import Board, Level, Marks, Panel, Row, q, red

__all__ = ["FEDERATION"]

_P = "mailshaper_federation_"
_HOUR = 3600.0
_MB, _GB = 1e6, 1e9


def _tile(
    title: str,
    question: str,
    unit: str,
    expr: str,
    runbook: str,
    levels: tuple[Level, ...],
) -> Panel:
    return Panel(title, question, unit, (q(expr),), runbook, levels, "stat", 4, 4)


FEDERATION = Board(
    "mailshaper-federation",
    "mailshaper / Federation",
    "Do the hosts hear each other, and is what they say worth it?",
    (
        Row(
            "Right now",
            (
                _tile(
                    "Silent peers",
                    "How many peers did not answer for two hours?",
                    "short",
                    f"sum({_P}peer_age_seconds{{I}} > bool 7200)",
                    "MailshaperFederationPeerSilent",
                    red(1),
                ),
                _tile(
                    "Missing events",
                    "How far behind its peers is this host?",
                    "short",
                    f"max({_P}missing_events{{I}})",
                    "MailshaperFederationBehind",
                    ((0, "green"), (1000, "orange"), (100_000, "red")),
                ),
                _tile(
                    "Forked logs",
                    "Has a log two truths, somebody's or our own?",
                    "short",
                    f"sum(max by (whose) ({_P}forks{{I}}))",
                    "MailshaperFederationFork",
                    red(1),
                ),
                _tile(
                    "Breaker",
                    "Does what others say count for nothing at the moment?",
                    "short",
                    f"max({_P}breaker_open{{I}})",
                    "MailshaperFederationBreakerOpen",
                    red(1),
                ),
                _tile(
                    "Weight taken",
                    "From how many organisations did our own mail take weight?",
                    "short",
                    f"sum(max by (why) ({_P}lowered_organisations{{I}}))",
                    "MailshaperFederationWeightLowered",
                    ((0, "green"), (1, "orange")),
                ),
                _tile(
                    "Clock",
                    "How far is our clock from the clocks of our peers?",
                    "s",
                    f"max(abs({_P}clock_offset_seconds{{I}}))",
                    "MailshaperFederationClockOff",
                    ((0, "green"), (120, "orange"), (_HOUR, "red")),
                ),
            ),
        ),
        Row(
            "Exchange",
            (
                Panel(
                    "Lines from peers",
                    "What comes in, and is any of it refused?",
                    "cps",
                    (
                        q(
                            f"sum by (code) (rate({_P}lines_total{{I}}[5m]))",
                            "{{code}}",
                        ),
                    ),
                    "MailshaperFederationRefusing",
                    kind="bars",
                ),
                Panel(
                    "Exchanges",
                    "Do exchanges with peers end well?",
                    "cps",
                    (
                        q(
                            f"sum by (result) (rate({_P}sessions_total{{I}}[5m]))",
                            "{{result}}",
                        ),
                    ),
                    "MailshaperFederationPeerSilent",
                ),
                Panel(
                    "Since the last exchange",
                    "Which peer is not heard?",
                    "s",
                    (q(f"{_P}peer_age_seconds{{I}}", "{{peer}}"),),
                    "MailshaperFederationPeerSilent",
                    ((0, "green"), (2 * _HOUR, "orange"), (24 * _HOUR, "red")),
                ),
                Panel(
                    "Events that are missing here",
                    "Does the gap to the peers close?",
                    "short",
                    (q(f"{_P}missing_events{{I}}", "{{instance}}"),),
                    "MailshaperFederationBehind",
                ),
                Panel(
                    "Lines that wait",
                    "Does somebody write with a wrong clock or an unknown key?",
                    "short",
                    (q(f"{_P}parked_lines{{I}}", "{{instance}}"),),
                    "MailshaperFederationRefusing",
                ),
                Panel(
                    "Organisations",
                    "Who is here, and at which level?",
                    "short",
                    (
                        q(
                            f"max by (level) ({_P}organisations{{I}})",
                            "{{level}}",
                        ),
                    ),
                    "MailshaperFederationRefusing",
                    kind="bars",
                ),
            ),
        ),
        Row(
            "What we say, and what follows",
            (
                Panel(
                    "Our own events",
                    "What does this host tell the others?",
                    "short",
                    (
                        q(
                            f"sum by (kind) (increase({_P}published_total{{I}}[1h]))",
                            "{{kind}}",
                        ),
                    ),
                    "MailshaperFederationRedisDown",
                    kind="bars",
                ),
                Panel(
                    "Facts of the shaper",
                    "Do facts arrive, and can they be read?",
                    "cps",
                    (
                        q(
                            f"sum by (result) (rate({_P}facts_total{{I}}[5m]))",
                            "{{result}}",
                        ),
                    ),
                    "MailshaperFederationRedisDown",
                ),
                Panel(
                    "Redis",
                    "Does the shaper's Redis answer?",
                    "short",
                    (q(f"{_P}redis_up{{I}}", "{{instance}}"),),
                    "MailshaperFederationRedisDown",
                ),
                Panel(
                    "Recipients with a verdict",
                    "For how many recipients does something follow?",
                    "short",
                    (
                        q(
                            f"max by (outcome) ({_P}verdicts{{I}})",
                            "{{outcome}}",
                        ),
                    ),
                    "MailshaperFederationBreakerOpen",
                ),
                Panel(
                    "Stopped because of others, last hour",
                    "How near is the breaker?",
                    "short",
                    (q(f"{_P}stopped_recipients{{I}}", "{{instance}}"),),
                    "MailshaperFederationBreakerOpen",
                ),
                Panel(
                    "Senders stopped elsewhere",
                    "Do other hosts see stolen accounts?",
                    "short",
                    (q(f"{_P}blocked_senders{{I}}", "{{instance}}"),),
                    "MailshaperFederationBreakerOpen",
                ),
            ),
        ),
        Row(
            "Engine",
            (
                Panel(
                    "Events stored",
                    "How much is kept?",
                    "short",
                    (q(f"max by (stream) ({_P}events{{I}})", "{{stream}}"),),
                    "MailshaperFederationStoreFailing",
                    kind="bars",
                ),
                Panel(
                    "Database",
                    "How big is the file?",
                    "bytes",
                    (q(f"{_P}database_bytes{{I}}", "{{instance}}"),),
                    "MailshaperFederationStoreFailing",
                ),
                Panel(
                    "Free on its disk",
                    "Is there room, and can it be written?",
                    "bytes",
                    (
                        q(f"{_P}disk_free_bytes{{I}}", "{{instance}}"),
                        q(f"{_P}store_failing{{I}}", "cannot be written"),
                    ),
                    "MailshaperFederationStoreFailing",
                    ((0, "red"), (_GB, "green")),
                ),
                Panel(
                    "Memory",
                    "How much memory does the daemon hold?",
                    "bytes",
                    (
                        q(
                            'process_resident_memory_bytes{I,job="mailshaper-'
                            'federation"}',
                            "{{instance}}",
                        ),
                    ),
                    "MailshaperFederationDown",
                    ((0, "green"), (500 * _MB, "orange")),
                ),
                Panel(
                    "CPU",
                    "How much of one core does the daemon use?",
                    "percentunit",
                    (
                        q(
                            'rate(process_cpu_seconds_total{I,job="mailshaper-'
                            'federation"}[5m])',
                            "{{instance}}",
                        ),
                    ),
                    "MailshaperFederationBehind",
                    ((0, "green"), (0.8, "orange")),
                ),
                Panel(
                    "There at all",
                    "Can Prometheus see the daemon, and which version?",
                    "short",
                    (q(f"{_P}build_info{{I}}", "{{version}}"),),
                    "MailshaperFederationDown",
                ),
            ),
        ),
    ),
    info=f"{_P}build_info",
    marks=Marks(
        "Forks",
        f'sum by (whose) (delta({_P}forks{{instance=~"$instance"}}[1m])) > 0',
        ("whose",),
        "a log has two truths ({{whose}})",
    ),
)
