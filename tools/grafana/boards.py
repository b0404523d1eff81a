"""The shaper's dashboards. Every panel asks one question; units and limits stand here.

In the queries ``{I`` stands for the chosen instances. Senders and cases are known to
every instance that shares a Redis, so they are taken with ``max``; what an instance
holds and counts is its own and is added up.
"""

from __future__ import annotations

from tools.grafana.federation import FEDERATION
from tools.grafana.model import Board, Level, Panel, Query, Row, q, red

__all__ = ["BOARDS"]

_HOUR, _DAY = 3600.0, 86400.0
_OK: tuple[Level, ...] = ((0, "green"),)


def _steps(warn: float, bad: float) -> tuple[Level, ...]:
    return ((0, "green"), (warn, "orange"), (bad, "red"))


def _tile(
    title: str,
    question: str,
    unit: str,
    expr: str,
    runbook: str,
    levels: tuple[Level, ...],
    *,
    width: int = 4,
) -> Panel:
    return Panel(title, question, unit, (q(expr),), runbook, levels, "stat", width, 4)


def _quantiles(metric: str) -> tuple[Query, ...]:
    inner = f"sum by (le) (rate(mailshaper_{metric}_bucket{{I}}[5m]))"
    return tuple(
        q(f"histogram_quantile({share}, {inner})", name)
        for share, name in ((0.5, "half"), (0.99, "99 of 100"))
    )


_OPEN_CASES = _tile(
    "Open cases",
    "How many senders have left their normal and wait for an end?",
    "short",
    "sum(max by (state) (mailshaper_cases_open{I}))",
    "MailshaperAccountSlowed",
    _steps(1, 5),
)
_BLOCKED = _tile(
    "Blocked senders",
    "How many senders send nothing until a person decides?",
    "short",
    'max(mailshaper_senders{I,state="blocked"})',
    "MailshaperReviewWaiting",
    red(1),
)
_SLOWED = _tile(
    "Slowed senders",
    "How many senders leave at the pace of the trickle?",
    "short",
    'max(mailshaper_senders{I,state="slowed"})',
    "MailshaperAccountSlowed",
    _steps(1, 5),
)
_HELD = _tile(
    "Held messages",
    "How much mail waits here?",
    "short",
    'sum(mailshaper_held_messages{I,queue!="notice"})',
    "MailshaperHeldMailOld",
    _steps(1, 1000),
)
_OLDEST = _tile(
    "Oldest held message",
    "How long has somebody's mail been waiting? At 5 days it goes back.",
    "s",
    'max(mailshaper_held_oldest_age_seconds{I,queue!="notice"})',
    "MailshaperHeldMailOld",
    _steps(4 * _HOUR, _DAY),
)
_UNREADY = _tile(
    "Not ready",
    "How many things keep an instance from taking mail?",
    "short",
    "sum(mailshaper_unready{I})",
    "MailshaperNotReady",
    red(1),
)
_PASSED = (
    'sum(rate(mailshaper_recipients_total{I,placement=~"$placement",action="pass"}'
    "[5m]{OFFSET}))"
)

_OVERVIEW = Board(
    "mailshaper-overview",
    "mailshaper / Overview",
    "Is anything wrong right now?",
    (
        Row(
            "Right now",
            (_OPEN_CASES, _BLOCKED, _SLOWED, _HELD, _OLDEST, _UNREADY),
        ),
        Row(
            "Mail",
            (
                Panel(
                    "Recipients that pass, and a week before",
                    "Does as much mail go through as on this day last week?",
                    "reqps",
                    (
                        q(_PASSED.replace("{OFFSET}", ""), "now"),
                        q(_PASSED.replace("{OFFSET}", " offset 1w"), "a week before"),
                    ),
                    "MailshaperNotReady",
                    width=12,
                ),
                Panel(
                    "Held mail by queue",
                    "Is held mail growing, and who has to move: time or a person?",
                    "short",
                    (
                        q(
                            "sum by (queue) (mailshaper_held_messages"
                            '{I,queue!="notice"})',
                            "{{queue}}",
                        ),
                    ),
                    "MailshaperHeldMailOld",
                    kind="bars",
                    width=12,
                ),
                Panel(
                    "Receivers that refuse this host",
                    "Which receivers distrust us as a whole?",
                    "short",
                    (
                        q(
                            "sum by (receiver) (increase(mailshaper_outcomes_total"
                            '{I,meaning="host_refused"}[1h]))',
                            "{{receiver}}",
                        ),
                    ),
                    "MailshaperReceiverRefusesHost",
                    red(3),
                    "bars",
                    12,
                ),
                Panel(
                    "Age of the oldest held message",
                    "Is mail waiting longer and longer?",
                    "s",
                    (
                        q(
                            "max by (queue) (mailshaper_held_oldest_age_seconds"
                            '{I,queue!="notice"})',
                            "{{queue}}",
                        ),
                    ),
                    "MailshaperHeldMailOld",
                    _steps(4 * _HOUR, _DAY),
                    width=12,
                ),
            ),
        ),
    ),
)

_CASES = Board(
    "mailshaper-cases",
    "mailshaper / Cases and senders",
    "Who left the normal, why, and how does it end?",
    (
        Row(
            "Waiting for a person",
            (
                _tile(
                    "To be reviewed",
                    "How many blocked senders has no operator decided about?",
                    "short",
                    "max(mailshaper_review_waiting_senders{I})",
                    "MailshaperReviewWaiting",
                    red(1),
                    width=6,
                ),
                _tile(
                    "Longest waiting for review",
                    "How long has somebody been blocked without a decision?",
                    "s",
                    "max(mailshaper_review_oldest_age_seconds{I})",
                    "MailshaperReviewLate",
                    _steps(_HOUR, 4 * _HOUR),
                    width=6,
                ),
                _tile(
                    "Notices owed",
                    "Are people still to be told of something?",
                    "short",
                    "sum(mailshaper_notices_owed{I})",
                    "MailshaperNoticesFailing",
                    _steps(1, 10),
                    width=6,
                ),
                _tile(
                    "Enforcing",
                    "Are decisions applied (1), or only recorded (0)?",
                    "short",
                    "min(mailshaper_enforcing{I})",
                    "MailshaperAccountSlowed",
                    ((0, "orange"), (1, "green")),
                    width=6,
                ),
            ),
        ),
        Row(
            "Alarms",
            (
                Panel(
                    "Senders by state",
                    "How many senders are not normal, over time?",
                    "short",
                    (q("max by (state) (mailshaper_senders{I})", "{{state}}"),),
                    "MailshaperAccountSlowed",
                ),
                Panel(
                    "Alarms by main part",
                    "What gives thieves away here?",
                    "short",
                    (
                        q(
                            "sum by (part) (increase(mailshaper_alarms_total{I}[1h]))"
                            " > 0",
                            "{{part}}",
                        ),
                    ),
                    "MailshaperAccountSlowed",
                    kind="bars",
                ),
                Panel(
                    "Changes of state",
                    "How do cases go on: calm, blocked, released?",
                    "short",
                    (
                        q(
                            "sum by (event) (increase(mailshaper_transitions_total{I}"
                            "[1h]))",
                            "{{event}}",
                        ),
                    ),
                    "MailshaperReviewWaiting",
                    kind="bars",
                ),
                Panel(
                    "Evidence at the alarm",
                    "Are alarms clear, or barely over the limit (1)?",
                    "none",
                    (
                        q(
                            "histogram_quantile(0.5, sum by (le) (increase("
                            "mailshaper_alarm_evidence_ratio_bucket{I}[1d])))",
                            "half of the alarms are under",
                        ),
                    ),
                    "MailshaperAccountSlowed",
                    decimals=2,
                ),
                Panel(
                    "Messages over half of the limit",
                    "Which share of messages comes near the limit of its sender?",
                    "percentunit",
                    (
                        q(
                            "1 - sum(rate(mailshaper_evidence_ratio_bucket"
                            '{I,le="0.5"}[5m])) / '
                            "sum(rate(mailshaper_evidence_ratio_count{I}[5m]))",
                            "share",
                        ),
                    ),
                    "MailshaperBaselineStale",
                    _steps(0.01, 0.05),
                ),
                Panel(
                    "Many senders at once",
                    "Does the host as a whole deviate (1), and how nearly?",
                    "short",
                    (
                        q("max(mailshaper_host_alarm{I})", "alarm"),
                        q("max(mailshaper_host_evidence_ratio{I})", "evidence"),
                    ),
                    "MailshaperHostAlarm",
                    red(1),
                ),
            ),
        ),
        Row(
            "Held mail",
            (
                Panel(
                    "Releases",
                    "How fast does held mail leave?",
                    "reqps",
                    (
                        q(
                            "sum by (queue) (rate(mailshaper_releases_total{I}[5m]))",
                            "{{queue}}",
                        ),
                    ),
                    "MailshaperHeldMailOld",
                ),
                Panel(
                    "Ends of held recipients",
                    "Was held mail delivered, dropped, or returned?",
                    "short",
                    (
                        q(
                            "sum by (fate) (increase(mailshaper_held_recipients_total"
                            "{I}[1h]))",
                            "{{fate}}",
                        ),
                    ),
                    "MailshaperHeldMailOld",
                    kind="bars",
                ),
                Panel(
                    "Messages by decision",
                    "What is done with mail?",
                    "reqps",
                    (
                        q(
                            "sum by (action) (rate(mailshaper_messages_total"
                            '{I,placement=~"$placement"}[5m]))',
                            "{{action}}",
                        ),
                    ),
                    "MailshaperNotReady",
                ),
                Panel(
                    "Allowances used",
                    "How much mail passes by an exemption or a plan?",
                    "reqps",
                    (
                        q(
                            "sum by (allowance) (rate(mailshaper_allowances_total{I}"
                            "[5m]))",
                            "{{allowance}}",
                        ),
                    ),
                    "MailshaperAccountSlowed",
                ),
            ),
        ),
    ),
)

_TOTAL = (
    'sum(increase(mailshaper_outcomes_total{I,meaning!~"temporary|complaint|unknown"}'
    "[1d]))"
)
_DELIVERABILITY = Board(
    "mailshaper-deliverability",
    "mailshaper / Deliverability",
    "What becomes of mail at its receivers?",
    (
        Row(
            "Ladders of the large providers",
            (
                Panel(
                    "Complaints over a day",
                    "Are complaints under what providers bear? Google wants less than "
                    "0.1 % and acts at 0.3 %; Amazon SES reviews at 0.1 % and pauses "
                    "at 0.5 %.",
                    "percentunit",
                    (
                        q(
                            "sum(increase(mailshaper_outcomes_total"
                            '{I,meaning="complaint"}[1d])) / '
                            "sum(increase(mailshaper_outcomes_total"
                            '{I,meaning="delivered"}[1d]))',
                            "complaints",
                        ),
                    ),
                    "MailshaperComplaints",
                    _steps(0.001, 0.003),
                    width=12,
                    decimals=2,
                ),
                Panel(
                    "Dead addresses over a day",
                    "Are bounces under what providers bear? Amazon SES reviews at 5 % "
                    "and pauses at 10 %.",
                    "percentunit",
                    (
                        q(
                            "sum(increase(mailshaper_outcomes_total"
                            '{I,meaning="dead_address"}[1d])) / ' + _TOTAL,
                            "dead addresses",
                        ),
                    ),
                    "MailshaperBounces",
                    _steps(0.05, 0.1),
                    width=12,
                    decimals=2,
                ),
            ),
        ),
        Row(
            "Outcomes",
            (
                Panel(
                    "Outcomes by meaning",
                    "What do receivers say to our mail?",
                    "reqps",
                    (
                        q(
                            "sum by (meaning) (rate(mailshaper_outcomes_total{I}[5m]))",
                            "{{meaning}}",
                        ),
                    ),
                    "MailshaperBounces",
                ),
                Panel(
                    "Refusals by receiver",
                    "Who refuses, whatever the reason?",
                    "short",
                    (
                        q(
                            "sum by (receiver) (increase(mailshaper_outcomes_total"
                            '{I,meaning!="delivered"}[1h]))',
                            "{{receiver}}",
                        ),
                    ),
                    "MailshaperReceiverRefusesHost",
                    kind="bars",
                ),
                Panel(
                    "Receivers in trouble",
                    "Which receivers refuse this host at the moment?",
                    "short",
                    (
                        q(
                            "max by (receiver) (mailshaper_receiver_troubles{I})",
                            "{{receiver}}",
                        ),
                    ),
                    "MailshaperReceiverRefusesHost",
                    red(1),
                ),
                Panel(
                    "Not understood",
                    "Are there replies that no rule of the table knows?",
                    "short",
                    (
                        q(
                            "sum(increase(mailshaper_outcomes_total"
                            '{I,meaning="unknown"}[1h]))',
                            "unknown",
                        ),
                    ),
                    "MailshaperBounces",
                ),
            ),
        ),
        Row(
            "Suppression",
            (
                Panel(
                    "Suppressed recipients",
                    "How many addresses are not written to any more?",
                    "short",
                    (q("max(mailshaper_suppressed_recipients{I})", "recipients"),),
                    "MailshaperBounces",
                    width=12,
                ),
                Panel(
                    "Attempts at suppressed recipients",
                    "Does somebody write to dead addresses again and again?",
                    "reqps",
                    (
                        q(
                            "sum(rate(mailshaper_suppression_hits_total{I}[5m]))",
                            "refused",
                        ),
                    ),
                    "MailshaperBounces",
                    width=12,
                ),
            ),
        ),
        Row(
            "Other hosts",
            (
                Panel(
                    "Recipients that trusted hosts call dead",
                    "What does the federation spare us, and is it there at all?",
                    "short",
                    (
                        q(
                            "sum by (action) (increase("
                            "mailshaper_foreign_recipients_total{I}[1h]))",
                            "{{action}}",
                        ),
                        q("max(mailshaper_foreign_present{I})", "federation there"),
                    ),
                    "MailshaperFederationDown",
                    width=12,
                ),
                Panel(
                    "Mail of friends",
                    "Which friendly host comes near its daily quota?",
                    "percentunit",
                    (
                        q(
                            "max by (friend) (mailshaper_friend_recipients{I} / "
                            "mailshaper_friend_quota{I})",
                            "{{friend}}",
                        ),
                    ),
                    "MailshaperFederationDown",
                    width=12,
                ),
            ),
        ),
    ),
)

_ENGINE = Board(
    "mailshaper-engine",
    "mailshaper / Engine room",
    "Is the machine itself well?",
    (
        Row(
            "Ready",
            (
                _UNREADY,
                _tile(
                    "Redis",
                    "Does Redis answer (1), or does the engine work from memory (0)?",
                    "short",
                    "min(mailshaper_redis_up{I})",
                    "MailshaperRedisDown",
                    ((0, "red"), (1, "green")),
                ),
                _tile(
                    "Damaged spool files",
                    "Was mail set aside because its file is damaged?",
                    "short",
                    "sum(mailshaper_spool_corrupt_files{I})",
                    "MailshaperSpoolCorrupt",
                    red(1),
                ),
                _tile(
                    "Age of the baselines",
                    "How old are the numbers that mail is judged by? Never refitted "
                    "looks like 50 years.",
                    "s",
                    "time() - min(mailshaper_baseline_refit_timestamp_seconds{I})",
                    "MailshaperBaselineStale",
                    _steps(2 * _DAY, 3 * _DAY),
                ),
                _tile(
                    "Up since",
                    "Has a daemon started again?",
                    "s",
                    'time() - max(process_start_time_seconds{I,job="mailshaper"})',
                    "MailshaperDown",
                    ((0, "orange"), (600, "green")),
                ),
                _tile(
                    "Versions",
                    "Do all instances run the same version (1)?",
                    "short",
                    "count(count by (version) (mailshaper_build_info{I}))",
                    "MailshaperDown",
                    ((0, "green"), (2, "orange")),
                ),
            ),
        ),
        Row(
            "Latency",
            (
                Panel(
                    "Decisions",
                    "How long does a message wait for its decision?",
                    "s",
                    _quantiles("decision_duration_seconds"),
                    "MailshaperDecisionsSlow",
                    _steps(0.1, 0.5),
                ),
                Panel(
                    "Next hop",
                    "How long does the next hop take for a message?",
                    "s",
                    _quantiles("forward_duration_seconds"),
                    "MailshaperNextHopDown",
                    _steps(5, 30),
                ),
                Panel(
                    "Redis",
                    "How long does a read from Redis take?",
                    "s",
                    (
                        q(
                            "max by (instance) (mailshaper_redis_latency_seconds{I})",
                            "{{instance}}",
                        ),
                    ),
                    "MailshaperRedisDown",
                    _steps(0.01, 0.1),
                ),
            ),
        ),
        Row(
            "Neighbours",
            (
                Panel(
                    "Replies of the next hop",
                    "Does the next hop take what it is given?",
                    "reqps",
                    (
                        q(
                            "sum by (class) (rate(mailshaper_next_hop_replies_total"
                            "{I}[5m]))",
                            "{{class}}",
                        ),
                    ),
                    "MailshaperNextHopDown",
                ),
                Panel(
                    "Errors at the next hop",
                    "Are transactions lost without an answer, and where?",
                    "reqps",
                    (
                        q(
                            "sum by (phase) (rate(mailshaper_next_hop_errors_total{I}"
                            "[5m]))",
                            "{{phase}}",
                        ),
                    ),
                    "MailshaperNextHopDown",
                ),
                Panel(
                    "Logins from Postfix",
                    "Does Postfix tell who sends?",
                    "reqps",
                    (
                        q(
                            "sum(rate(mailshaper_policy_requests_total{I}[5m]))",
                            "requests",
                        ),
                    ),
                    "MailshaperNotReady",
                ),
                Panel(
                    "Lag behind the logs",
                    "Does the daemon keep up with the MTA's logs?",
                    "bytes",
                    (
                        q(
                            "max by (instance, log) (mailshaper_log_lag_bytes{I})",
                            "{{instance}} {{log}}",
                        ),
                    ),
                    "MailshaperLogLag",
                    _steps(1e6, 1e7),
                ),
                Panel(
                    "Logs that cannot be read",
                    "Is a followed log missing, or forbidden to the daemon?",
                    "short",
                    (
                        q(
                            "max by (instance, log) (mailshaper_log_unreadable{I})",
                            "{{instance}} {{log}}",
                        ),
                    ),
                    "MailshaperLogLag",
                    red(1),
                ),
                Panel(
                    "Notices",
                    "Do notices reach people?",
                    "short",
                    (
                        q(
                            "sum by (channel, result) (increase("
                            "mailshaper_notices_total{I}[1h]))",
                            "{{channel}} {{result}}",
                        ),
                    ),
                    "MailshaperNoticesFailing",
                    kind="bars",
                ),
                Panel(
                    "Reasons for not being ready",
                    "What keeps an instance from taking mail?",
                    "short",
                    (q("sum by (reason) (mailshaper_unready{I})", "{{reason}}"),),
                    "MailshaperNotReady",
                    red(1),
                ),
            ),
        ),
        Row(
            "Resources",
            (
                Panel(
                    "Spool",
                    "How full is the spool of what it may hold?",
                    "percentunit",
                    (
                        q(
                            "sum by (instance) (mailshaper_held_bytes{I}) / "
                            "sum by (instance) (mailshaper_spool_limit_bytes{I})",
                            "{{instance}} octets",
                        ),
                        q(
                            "sum by (instance) (mailshaper_held_messages{I}) / "
                            "sum by (instance) (mailshaper_spool_limit_messages{I})",
                            "{{instance}} messages",
                        ),
                    ),
                    "MailshaperSpoolFilling",
                    _steps(0.5, 0.8),
                ),
                Panel(
                    "Free on the spool's disk",
                    "Is there room, beyond what is left to others?",
                    "bytes",
                    (
                        q(
                            "min by (instance) (mailshaper_spool_free_bytes{I} - "
                            "mailshaper_spool_reserved_bytes{I})",
                            "{{instance}}",
                        ),
                    ),
                    "MailshaperSpoolFilling",
                    ((0, "red"), (1e9, "green")),
                ),
                Panel(
                    "Memory",
                    "How much memory does the daemon hold (its Redis apart)?",
                    "bytes",
                    (
                        q(
                            'process_resident_memory_bytes{I,job="mailshaper"}',
                            "{{instance}}",
                        ),
                    ),
                    "MailshaperDown",
                ),
                Panel(
                    "CPU",
                    "How much of one core does the daemon use?",
                    "percentunit",
                    (
                        q(
                            'rate(process_cpu_seconds_total{I,job="mailshaper"}[5m])',
                            "{{instance}}",
                        ),
                    ),
                    "MailshaperDecisionsSlow",
                    _steps(0.6, 0.9),
                ),
                Panel(
                    "Open files",
                    "How near is the limit of open files?",
                    "percentunit",
                    (
                        q(
                            'process_open_fds{I,job="mailshaper"} / '
                            'process_max_fds{I,job="mailshaper"}',
                            "{{instance}}",
                        ),
                    ),
                    "MailshaperDown",
                    _steps(0.5, 0.8),
                ),
            ),
        ),
    ),
)

BOARDS = (_OVERVIEW, _CASES, _DELIVERABILITY, _ENGINE, FEDERATION)
