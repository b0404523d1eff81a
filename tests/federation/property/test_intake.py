"""Whatever the facts are, what is published counts at others, and tells no address."""

import json
from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from federation.format.kinds import HARD_CODES, SOFT_CODES
from federation.trust.emitter import Share
from federation.trust.facts import BadFactError, read
from tests.support.federated import DAY, HOUR, NOW, Host

times = st.one_of(
    st.integers(NOW - 40 * DAY, NOW + DAY), st.floats(0, 2e9, allow_nan=False)
)
addresses = st.one_of(
    st.sampled_from(["secret@example.org", "other@example.org", "joe@us.example"]),
    st.text(max_size=20),
)
codes = st.sampled_from([*sorted(HARD_CODES | SOFT_CODES), "5.7.1", "4.4.1", "", "5"])
numbers = st.integers(0, 2**53 - 1)
values = st.one_of(st.none(), st.booleans(), numbers, st.text(max_size=5))


def kind(name, **fields):
    made = {"v": st.just(1), "kind": st.just(name), **fields}
    return st.fixed_dictionaries(made)


bounces = {
    "address": addresses,
    "code": codes,
    "smtp": st.integers(0, 700),
    "via": st.sampled_from(["smtp", "dsn", "pigeon"]),
    "at": times,
    "provider": st.one_of(st.just("mx.example"), st.text(max_size=9)),
}
facts = st.one_of(
    kind("bounce", **bounces),
    kind("soft", **bounces),
    kind("delivered", address=addresses, at=times),
    kind("override", address=addresses, at=times),
    kind("complaint", address=addresses, at=times),
    kind("stopped", address=addresses, at=times),
    kind(
        "blocked",
        sender=addresses,
        why=st.sampled_from(["spam", "volume", "envy"]),
        until=times,
        at=times,
        case=st.sampled_from(["c1", "c2"]),
    ),
    kind("released", case=st.sampled_from(["c1", "c2", "c3"])),
    kind(
        "receiver",
        provider=st.one_of(st.just("mx.example"), st.text(max_size=9)),
        code=codes,
        n=numbers,
        **{"from": times, "to": times},
    ),
    kind(
        "day",
        **{"from": st.sampled_from([NOW - NOW % DAY - n * DAY for n in range(3)])},
        to=times,
        **dict.fromkeys(("sent", "hard", "soft", "complaints", "suppressed"), numbers),
    ),
    st.dictionaries(st.sampled_from(["v", "kind", "at", "address"]), values),
)


@given(st.lists(st.tuples(facts, st.integers(0, 2 * DAY)), max_size=15))
def test_what_is_published_counts_and_hides(some):
    now = NOW
    with Host(share=Share(complaints=True)) as us, Host("friend") as friend:
        us.believe(friend, "trusted")
        us.hear(friend.says("rcpt.hard", "secret@example.org", NOW - DAY))
        published = 0
        for one, later in some:
            now += later
            us.intake.take([json.dumps(one).encode()], now)
            published += us.intake.emit(now).total()
        rows = us.store.rows(
            "SELECT weight, raw FROM ev JOIN log ON log.id=ev.log WHERE org=?", us.org
        )
        assert len(rows) == published
        last: dict[tuple[str, str], int] = {}
        for weight, raw in rows:
            event = json.loads(raw)
            assert weight, raw
            for word in (b"secret", b"joe", b"@", b"example.org", b"us.example"):
                assert word not in raw
            body, at = event["b"], event["ts"]
            for name in ("last", "until", "from", "to"):
                assert body.get(name, 0) % HOUR == 0
            if event["k"].startswith("rcpt."):
                key = event["k"], body["r"]
                assert at - last.get(key, 0) >= DAY  # one a day
                last[key] = at


@given(st.binary(max_size=300))
def test_reading_any_octets_ends_in_a_fact_or_the_one_error(raw):
    with suppress(BadFactError):
        read(raw)
