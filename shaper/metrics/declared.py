"""Every metric: name, type, labels, meaning, and what to do when it moves.

The only place where a metric is named. ``counting`` and ``standing`` make them from
here, ``docs/metrics.md`` is written from here (``python -m shaper.metrics.page``),
and tests hold dashboards and alerts against it. Labels are bounded: an action, a
state, a queue, a group of receivers; never an address or a sender.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["ALL", "QUEUES", "REASONS", "Declared"]

QUEUES = ("trickle", "blocked", "released", "notice")
REASONS = ("restoring", "redis", "spool", "next_hop")

# Seconds. A decision takes about a millisecond, Redis gives up after one second.
_DECISION = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
# Seconds. From a local MTA to a smarthost that scans for viruses.
_FORWARD = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)


@dataclass(frozen=True, slots=True)
class Declared:
    """One metric. ``act`` is for the operator; ``values`` explains the labels."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    act: str
    labels: tuple[str, ...] = ()
    values: str = ""
    buckets: tuple[float, ...] = ()


_ACTION = (
    "`action`: `pass`, `hold`, `answer` (refused for now: Redis or disk); "
    "`placement`: `hop`, `policy` or `watch`"
)
_QUEUE = (
    "`queue`: `trickle` (sender slowed), `blocked`, `released` (on its way out: by an "
    "order, or its sender is normal again), `notice` (our own mail)"
)

ALL: tuple[Declared, ...] = (
    # -- decisions
    Declared(
        "mailshaper_messages_total",
        "counter",
        "Messages judged, by what was done with them.",
        "`hold` grows with every case; `answer` means that Redis or the spool needs "
        "care. In observation `hold` counts what would have been held.",
        ("action", "placement"),
        _ACTION,
    ),
    Declared(
        "mailshaper_recipients_total",
        "counter",
        "Recipients of judged messages, by what was done with the message.",
        "Compare the rate with the week before: a jump without a case is worth a look.",
        ("action", "placement"),
        _ACTION,
    ),
    Declared(
        "mailshaper_decision_duration_seconds",
        "histogram",
        "Time from the end of the header to the decision.",
        "Mostly Redis. Above 0.1 s look at Redis and at the load of the host.",
        buckets=_DECISION,
    ),
    Declared(
        "mailshaper_allowances_total",
        "counter",
        "Messages that an operator's allowance let pass unjudged.",
        "Nothing, if the exemption or plan is still wanted: `mailshaper list`.",
        ("allowance",),
        "`allowance`: `exemption`, `plan`",
    ),
    Declared(
        "mailshaper_evidence_ratio",
        "histogram",
        "Evidence of judged messages as a share of the sender's slow limit.",
        "Much mass over 0.5 without alarms: the baselines no longer fit.",
        buckets=(0.01, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 4.0),
    ),
    Declared(
        "mailshaper_alarm_evidence_ratio",
        "histogram",
        "Evidence at the alarm as a share of the sender's slow limit.",
        "Alarms barely over 1 that are released as innocent: watch the baselines.",
        buckets=(1.0, 1.05, 1.1, 1.25, 1.5, 2.0, 4.0),
    ),
    Declared(
        "mailshaper_alarms_total",
        "counter",
        "Alarms, by the part of the evidence that weighed most.",
        "Review the case: `mailshaper cases`.",
        ("part",),
        "`part`: a measure of the detector (docs/detection.md)",
    ),
    Declared(
        "mailshaper_transitions_total",
        "counter",
        "Changes of a sender's state, by event and new state.",
        "`released` soon after `alarm` is a false alarm; many of them: see "
        "docs/detection.md.",
        ("event", "state"),
        "`event` and `state`: the table in docs/flow.md",
    ),
    # -- senders and cases
    Declared(
        "mailshaper_senders",
        "gauge",
        "Senders that are not normal, by state.",
        "Each one is a case: `mailshaper cases`, then docs/runbooks/.",
        ("state",),
        "`state`: `slowed`, `blocked`",
    ),
    Declared(
        "mailshaper_cases_open",
        "gauge",
        "Open cases that this instance has a part of, by state of the sender.",
        "`mailshaper cases` lists them; blocked ones wait for a person.",
        ("state",),
        "`state`: `slowed`, `blocked`",
    ),
    Declared(
        "mailshaper_review_waiting_senders",
        "gauge",
        "Blocked senders that no operator has decided about.",
        "Decide: `mailshaper show SENDER`, then `release` or `block`.",
    ),
    Declared(
        "mailshaper_review_oldest_age_seconds",
        "gauge",
        "How long the longest waiting of these senders is blocked, 0 without any.",
        "Hours mean that nobody looks: is somebody told (`[notify]`)?",
    ),
    Declared(
        "mailshaper_host_alarm",
        "gauge",
        "1 while many senders deviate at once, 0 otherwise.",
        "Look for one cause: many stolen accounts, or a Monday after a failure.",
    ),
    Declared(
        "mailshaper_host_evidence_ratio",
        "gauge",
        "Evidence that many senders deviate together, as a share of the alarm's limit.",
        "Above 0.5 most days: the baselines no longer fit; from 1 on it is an alarm.",
    ),
    # -- held mail
    Declared(
        "mailshaper_held_messages",
        "gauge",
        "Messages in the spool, by queue.",
        "`mailshaper queue list`. In `released` it should fall by itself.",
        ("queue",),
        _QUEUE,
    ),
    Declared(
        "mailshaper_held_bytes",
        "gauge",
        "Octets of the messages in the spool, by queue.",
        "Against `mailshaper_spool_limit_bytes`: above it, mail stays with the MTA.",
        ("queue",),
        _QUEUE,
    ),
    Declared(
        "mailshaper_held_oldest_age_seconds",
        "gauge",
        "Age of the oldest message in the spool, by queue, 0 without any.",
        "At `trickle.longest_hold` (5 days) it goes back to its sender.",
        ("queue",),
        _QUEUE,
    ),
    Declared(
        "mailshaper_releases_total",
        "counter",
        "Held messages that left with at least one delivered recipient, by queue.",
        "Nothing: shows the pace of the trickle. None with mail waiting: next hop?",
        ("queue",),
        "`queue`: `trickle`, `released`, `notice`",
    ),
    Declared(
        "mailshaper_held_recipients_total",
        "counter",
        "Recipients of held messages that wait no more, by fate.",
        "`refused`: look at the replies (`mailshaper queue show`); `expired`: a case "
        "that nobody decided.",
        ("fate",),
        "`fate`: `delivered`, `refused`, `expired`, `dropped`, `bounced`, `gone`",
    ),
    # -- what became of mail
    Declared(
        "mailshaper_outcomes_total",
        "counter",
        "What became of recipients, by meaning and group of receivers.",
        "`host_refused`: our host is distrusted there; `dead_address`: lists go bad; "
        "`complaint`: find the sender; `unknown`: add a rule to `feedback.table`.",
        ("meaning", "receiver"),
        "`meaning`: docs/outcomes.md; `receiver`: a large provider or `other`",
    ),
    Declared(
        "mailshaper_receiver_troubles",
        "gauge",
        "1 for each group of receivers that refuses this host at the moment.",
        "Read its words and stop the cause before asking for delisting.",
        ("receiver",),
        "`receiver`: a large provider or `other`",
    ),
    Declared(
        "mailshaper_suppression_hits_total",
        "counter",
        "Recipients refused because they are suppressed.",
        "One sender with many: its list is old, or it is a thief's.",
    ),
    Declared(
        "mailshaper_suppressed_recipients",
        "gauge",
        "Recipients that are suppressed.",
        "A jump follows a bad list; `mailshaper suppress list`.",
    ),
    # -- other hosts
    Declared(
        "mailshaper_foreign_present",
        "gauge",
        "1 while the federation daemon is there and what it says is asked, else 0.",
        "0 with `federation.enabled`: `systemctl status mailshaper-federation`.",
    ),
    Declared(
        "mailshaper_foreign_recipients_total",
        "counter",
        "Recipients that trusted hosts call dead or doubtful, by what was done.",
        "`refused`: see `mailshaper federation benefit`; `spared`: what enforcing "
        "would refuse.",
        ("action",),
        "`action`: `refused`, `probe`, `spared` (observing)",
    ),
    Declared(
        "mailshaper_friend_recipients",
        "gauge",
        "Recipients of mail that a friendly host gave us today, by friend.",
        "Near its quota: `mailshaper friends` shows who below it sends most.",
        ("friend",),
        "`friend`: a name of the configuration",
    ),
    Declared(
        "mailshaper_friend_quota",
        "gauge",
        "Recipients a day that a friendly host may send (`friends.NAME.daily`).",
        "A setting, to compare with.",
        ("friend",),
        "`friend`: as above",
    ),
    # -- next hop
    Declared(
        "mailshaper_next_hop_replies_total",
        "counter",
        "Final replies of the next hop to messages, by first digit.",
        "`4xx` or `5xx` growing: read the next hop's log.",
        ("class",),
        "`class`: `2xx` to `5xx`",
    ),
    Declared(
        "mailshaper_next_hop_errors_total",
        "counter",
        "Transactions that failed without a word of the next hop, by phase.",
        "`connect`: it is down or full; `end`: it was lost after the content.",
        ("phase",),
        "`phase`: the SMTP command that had no answer",
    ),
    Declared(
        "mailshaper_forward_duration_seconds",
        "histogram",
        "Time from MAIL at the next hop to its final reply.",
        "Rises with the next hop's load, and with large messages.",
        buckets=_FORWARD,
    ),
    Declared(
        "mailshaper_policy_requests_total",
        "counter",
        "Logins that the policy listener learned.",
        "Zero with mail flowing: Postfix does not ask (docs/postfix.md).",
    ),
    # -- health
    Declared(
        "mailshaper_unready",
        "gauge",
        "1 for each reason why /readyz says no, 0 otherwise.",
        "The runbook of the reason: docs/runbooks/.",
        ("reason",),
        "`reason`: `restoring`, `redis`, `spool`, `next_hop`",
    ),
    Declared(
        "mailshaper_redis_up",
        "gauge",
        "1 while Redis answers, 0 while the engine works from memory.",
        "docs/runbooks/MailshaperRedisDown.md",
    ),
    Declared(
        "mailshaper_redis_latency_seconds",
        "gauge",
        "Time of one read from Redis at the scrape; absent while it is away.",
        "Above 10 ms: slow disk under its append-only file, or a busy host.",
    ),
    Declared(
        "mailshaper_spool_free_bytes",
        "gauge",
        "Octets free on the spool's disk.",
        "Under `spool.min_free_bytes` new mail is answered 452.",
    ),
    Declared(
        "mailshaper_spool_reserved_bytes",
        "gauge",
        "Octets of the disk that are left to others (spool.min_free_bytes).",
        "A setting, to compare with.",
    ),
    Declared(
        "mailshaper_spool_limit_bytes",
        "gauge",
        "Octets that may be held (spool.max_bytes).",
        "A setting, to compare with.",
    ),
    Declared(
        "mailshaper_spool_limit_messages",
        "gauge",
        "Messages that may be held (spool.max_messages).",
        "A setting, to compare with.",
    ),
    Declared(
        "mailshaper_spool_corrupt_files",
        "gauge",
        "Spool files that were set aside because they are damaged.",
        "They are in the spool's `corrupt/`; docs/runbooks/MailshaperSpoolCorrupt.md",
    ),
    Declared(
        "mailshaper_log_lag_bytes",
        "gauge",
        "Octets of followed logs that are not read yet, by log.",
        "Growing: the daemon cannot keep up, or may not read the file.",
        ("log",),
        "`log`: a file or unit of `feedback.logs` and `feedback.journal`",
    ),
    Declared(
        "mailshaper_log_unreadable",
        "gauge",
        "1 while a followed log cannot be read, 0 otherwise.",
        "Permissions, or a path that is not there: docs/runbooks/MailshaperLogLag.md",
        ("log",),
        "`log`: as above",
    ),
    Declared(
        "mailshaper_baseline_refit_timestamp_seconds",
        "gauge",
        "When the baselines were refitted, in Unix time; 0 for the shipped ones.",
        "Older than three days: docs/runbooks/MailshaperBaselineStale.md",
    ),
    Declared(
        "mailshaper_notices_total",
        "counter",
        "Notices to people, by channel and result.",
        "`failed`: the webhook's receiver or the next hop refuses them.",
        ("channel", "result"),
        "`channel`: `mail`, `webhook`; `result`: `sent`, `failed`",
    ),
    Declared(
        "mailshaper_notices_owed",
        "gauge",
        "Steps of cases that people are still to be told of.",
        "Should be 0 within a minute; else the spool or the webhook is in trouble.",
    ),
    Declared(
        "mailshaper_enforcing",
        "gauge",
        "1 while decisions are applied, 0 in observation or in placement watch.",
        "0 on a host that should hold mail: `daemon.enforce`, `daemon.placement`.",
    ),
    Declared(
        "mailshaper_build_info",
        "gauge",
        "Always 1; the labels say what runs.",
        "Different versions on instances of one Redis: finish the upgrade.",
        ("version", "python", "placement"),
        "`version`, `python`: as installed; `placement`: `hop`, `policy` or `watch`",
    ),
)
