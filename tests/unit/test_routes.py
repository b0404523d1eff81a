"""Which route a recipient takes, and the table's stored form."""

import json

import pytest

from shaper import wiring
from shaper.config import ConfigError, load
from shaper.core.envelope import Envelope, Recipient
from shaper.core.routes import Route, RouteTable, pattern
from shaper.smtp.forward import NextHop
from shaper.smtp.routing import Hops
from shaper.smtp.settings import ForwardSettings


def table(*names):
    found = RouteTable()
    for name in names:
        found = found.put(Route(name, f"hop-of-{name}"))
    return found


@pytest.mark.parametrize(
    ("address", "way"),
    [
        ("a@orange.fr", "orange.fr"),
        ("a@ORANGE.fr", "orange.fr"),
        ("a@wanadoo.fr", "orange"),
        ("a@sub.orange.fr", "orange"),
        ("a@example.net", ".example.net"),
        ("a@deep.mx.example.net", "mx.example.net"),
        ("a@mx.example.net", "mx.example.net"),
        ("a@b.example.net", ".example.net"),
        ("a@notexample.net", None),
        ("a@münchen.example", "xn--mnchen-3ya.example"),
        ("postmaster", None),
        ("", None),
        ("a@[192.0.2.1]", None),
    ],
)
def test_the_closest_route_wins(address, way):
    routes = table(
        "orange", "orange.fr", ".example.net", "mx.example.net",
        "xn--mnchen-3ya.example",
    )  # fmt: skip
    if address == "a@deep.mx.example.net":
        way = ".example.net"  # without a dot only the domain itself
    found = routes.find(address)
    assert (found and found.pattern) == way


def test_what_is_no_domain_and_no_group_is_refused():
    assert pattern("Orange.FR.") == "orange.fr"
    assert pattern(".example.net") == ".example.net"
    assert pattern("google") == "google"
    for bad in ("other", "nobody", "", ".", "a b.fr", "x@orange.fr", "next hop"):
        with pytest.raises(ValueError, match="neither"):
            pattern(bad)


def test_the_stored_form_comes_back_and_damage_is_an_empty_table():
    found = table("orange", "example.net").without("orange")
    assert found.version == 3
    assert RouteTable.decode(json.dumps(found.to_json()).encode()) == found
    for raw in (b"", b"{", b"[]", b'{"version":1,"routes":[{"x":1}]}', b"[" * 100_000):
        assert RouteTable.decode(raw) == RouteTable()


def test_recipients_are_parted_by_next_hop_and_pools_go_with_their_route():
    common = NextHop(ForwardSettings())
    hops = Hops(common, lambda route: ForwardSettings(host=route.hop))
    names = ("a@x.fr", "b@orange.fr", "c@x.fr", "d@wanadoo.fr", "e@free.fr")
    envelope = Envelope("s@example.org", tuple(Recipient(name) for name in names))
    assert hops.split(envelope, range(5)) == [[0, 1, 2, 3, 4]]
    routes = RouteTable().put(Route("orange", "one")).put(Route("free.fr", "two"))
    hops.apply(routes)
    assert hops.split(envelope, range(5)) == [[0, 2], [1, 3], [4]]
    assert len(hops) == 2
    hops.apply(routes.without("free.fr"))
    assert len(hops) == 1
    assert hops.of("e@free.fr") is common


def test_relays_are_named_and_a_next_hop_that_is_ourselves_is_refused(tmp_path):
    (tmp_path / "password").write_text("secret\n")
    config = tmp_path / "c.toml"
    config.write_text(
        '[relays.relay2]\nnext_hop = "192.0.2.7:587"\ntls = "starttls"\n'
        f'user = "us"\npassword_file = "{tmp_path}/password"\n'
    )
    settings = load(config)
    found = wiring.route(settings, Route("orange", "relay2"))
    assert (found.host, found.port, found.tls) == ("192.0.2.7", 587, "starttls")
    assert (found.username, found.password) == ("us", "secret")
    assert wiring.route(settings, Route("o", "/run/x")).unix_socket == "/run/x"
    with pytest.raises(ValueError, match=r"our own hop\.listen"):
        wiring.route(settings, Route("orange", "127.0.0.1:10025"))
    with pytest.raises(ValueError, match="no relay of the configuration"):
        wiring.route(settings, Route("orange", "relay3"))
    config.write_text('[relays.a]\nnext_hop = "127.0.0.1:10025"\n')
    with pytest.raises(ConfigError, match="mail would loop"):
        load(config)
    config.write_text(
        '[relays.a]\nnext_hop = "192.0.2.7:25"\nuser="u"\npassword_file="/p"\n'
    )
    with pytest.raises(ConfigError, match="only over TLS"):
        load(config)
