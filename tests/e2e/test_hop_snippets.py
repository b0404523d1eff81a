"""The files under conf that administrators run: complete, repeatable, undone again."""

import re
import subprocess

import pytest

from shaper.config import Settings
from shaper.doctor import postconf
from tests.support import snippets
from tests.support.daemon import Daemon
from tests.support.needs import REPOSITORY, free_port
from tests.support.nexthop import NextHop
from tests.support.postfix import Postfix
from tests.support.road import ACCOUNTS, configure, road
from tests.support.submit import submit
from tests.support.tap import Tap
from tests.support.waiting import poll_async

SCRIPTS = sorted(path.name for path in (snippets.CONF / "postfix").glob("*.sh"))
DOCS = REPOSITORY / "docs"
GUIDE = (DOCS / "postfix.md").read_text() + (DOCS / "placement-policy.md").read_text()


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_setting_is_explained_in_the_guide(name):
    text = (snippets.CONF / "postfix" / name).read_text()
    assert f"conf/postfix/{name}" in GUIDE
    settings = set(re.findall(r"-o (\w+)=", text)) | set(re.findall(r'"(\w+) = ', text))
    assert [s for s in sorted(settings) if f"`{s}" not in GUIDE] == []


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_ports_are_those_of_the_shipped_configuration(name):
    hop, policy = Settings().hop, Settings().policy
    usual = {
        "shaper": hop.listen[0],
        "back": hop.next_hop,
        "listen": hop.next_hop,
        "policy": f"inet:{policy.listen[0]}",
    }
    text = (snippets.CONF / "postfix" / name).read_text()
    found = re.findall(r"(?m)^(\w+)=((?:inet:)?127\.\S+)", text)
    assert found or name == "policy-off.sh"  # which finds the address itself
    assert {key: usual[key] for key, _ in found} == dict(found)


def settings_of(postfix):
    """Return main.cf and master.cf as Postfix reads them.

    Postfix 3.10 sometimes adds where it was told to look for them.
    """
    main, *master = (postfix.command("postconf", flag) for flag in ("-n", "-M", "-P"))
    return [re.sub(r"(?m)^config_directory = .*\n", "", main), *master]


@pytest.mark.e2e
@pytest.mark.parametrize("mode", ["next-hop", "reinject"])
def test_twice_is_once_and_off_is_as_before(mode):
    theirs = "check_policy_service inet:127.0.0.1:1"
    main = {"smtpd_end_of_data_restrictions": theirs}
    with Postfix(relay=free_port(), main=main) as postfix:
        own = f"127.0.0.1:{postfix.submission_port}/inet/receive_override_options"
        postfix.command("postconf", "-P", f"{own}=no_milters")
        before = settings_of(postfix)
        configure(mode, postfix, 10025, 10027, 10026)
        once = settings_of(postfix)
        assert once != before
        added = ",no_address_mappings" if mode == "reinject" else ""
        assert f"{own} = no_milters{added}\n" in once[2]
        configure(mode, postfix, 10025, 10027, 10026)
        assert settings_of(postfix) == once
        snippets.apply("postfix/off.sh", postfix.config)
        after = settings_of(postfix)
    # What stays is of no effect by itself.
    left = set("".join(after).splitlines()) - set("".join(before).splitlines())
    mine = re.compile(r"shaper|enable_long_queue_ids|127.0.0.1:10026|^ +-o ")
    assert [line for line in left if not mine.search(line)] == []
    assert not set("".join(before).splitlines()) - set("".join(after).splitlines())


@pytest.mark.e2e
@pytest.mark.parametrize("mode", ["next-hop", "reinject"])
def test_slow_to_the_world_is_not_slow_to_mailshaper(mode):
    main = {f"default_{one}_rate_delay": "5s" for one in ("destination", "transport")}
    with Postfix(relay=free_port(), main=main) as postfix:
        configure(mode, postfix, 10025, 10027, 10026)
        found = postconf.read(str(postfix.config)).main
        assert found["default_destination_rate_delay"] == "5s"
        assert found["shaper_destination_rate_delay"] == "0s"
        assert found["shaper_transport_rate_delay"] == "0s"


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("mode", "main", "words"),
    [
        ("reinject", {"content_filter": "amavis:[127.0.0.1]:10024"}, "amavis"),
        ("reinject", {"smtpd_proxy_filter": "127.0.0.1:10024"}, "smtpd_proxy_filter"),
        ("next-hop", {"default_transport": "uucp"}, "uucp"),
    ],
)
def test_a_setting_that_is_in_use_is_not_overwritten(mode, main, words):
    with Postfix(relay=free_port(), main=main) as postfix:
        before = settings_of(postfix)
        with pytest.raises(subprocess.CalledProcessError) as caught:
            configure(mode, postfix, 10025, 10027, 10026)
        assert words in caught.value.__notes__[0]
        assert settings_of(postfix) == before


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("told", "who"),
    [
        ("127.0.0.0/8", f"login:{ACCOUNTS[0].login}"),
        ("", "from:alice@example.test"),
    ],
    ids=["told", "not told"],
)
async def test_a_content_filter_that_hands_on_xforward_keeps_the_login(told, who):
    """As with amavis: the port that takes mail back is told the first queue id."""
    back = free_port()
    async with Tap(back) as scan:
        main = {"content_filter": f"scan:[127.0.0.1]:{scan.port}"}
        master = [
            "scan unix - - n - 10 smtp -o smtp_send_xforward_command=yes",
            f"127.0.0.1:{back} inet n - n - - smtpd -o content_filter=",
            "  -o smtpd_end_of_data_restrictions=",
            f"  -o smtpd_authorized_xforward_hosts={told}",
        ]
        async with road("next-hop", main=main, master=master) as way:
            await submit(way.submission, account=way.account)
            await way.hop.wait_for(1)
            found = await way.daemon.ask("explain", sender=who)
            assert found["state"] == "normal"


@pytest.mark.e2e
@pytest.mark.parametrize("mode", ["next-hop", "reinject"])
async def test_what_main_cf_says_of_the_world_is_not_said_of_mailshaper(mode):
    async with NextHop() as elsewhere:
        main = {
            # As for a relay with TLS from the first octet, and another for bad times.
            "smtp_tls_security_level": "encrypt",
            "smtp_tls_wrappermode": "yes",
            "smtp_tls_policy_maps": "static:encrypt",
            "smtp_fallback_relay": f"[127.0.0.1]:{elsewhere.port}",
            "sender_dependent_relayhost_maps": f"static:[127.0.0.1]:{elsewhere.port}",
            "smtp_bind_address": "127.0.0.9",
        }
        async with road(mode, main=main) as way:
            await submit(way.submission, account=way.account)
            sent = await way.postfix.wait_for_log("status=sent")
            assert f"relay=127.0.0.1[127.0.0.1]:{way.tap.port}" in sent
            if mode == "next-hop":
                await way.hop.wait_for(1)
            way.daemon.kill()
            await submit(way.submission, account=way.account)
            waits = await way.postfix.wait_for_log("status=deferred")
            assert f":{way.tap.port}, " in waits
            assert elsewhere.transactions == []
            found = postconf.read(str(way.postfix.config)).options["shaper/unix"]
            assert (found["smtp_bind_address"], found["inet_interfaces"]) == ("", "all")


@pytest.mark.e2e
@pytest.mark.parametrize("mode", ["next-hop", "reinject"])
async def test_switching_off_sends_what_waited_for_a_dead_shaper(mode):
    slowly = {f"{name}imal_backoff_time": "300s" for name in ("min", "max")}
    async with road(mode, main=slowly | {"queue_run_delay": "300s"}) as way:
        way.daemon.kill()
        await submit(way.submission, account=way.account)
        await poll_async(
            lambda: [m["queue_name"] for m in way.postfix.queue()] == ["deferred"],
            "deferred message",
        )
        policy = f"inet:127.0.0.1:{way.daemon.policy_port}"
        way.postfix.command("postconf", "-e", "content_filter=shaper:[127.0.0.1]:9")
        snippets.apply("postfix/off.sh", way.postfix.config, policy=policy)
        (got,) = await way.hop.wait_for(1)
        assert b"mailshaper" not in got.wire
        assert "shaper:" not in way.postfix.command("postconf", "-n")
        await way.queue_empties()


@pytest.mark.e2e
async def test_a_second_instance_delivers_what_the_shaper_passes():
    async with NextHop() as hop:
        port = free_port()
        first = Postfix(relay=free_port(), accounts=ACCOUNTS)
        second = Postfix(relay=hop.port)
        listen = f"127.0.0.1:{port}"
        snippets.apply("postfix/outbound.sh", second.config, listen=listen)
        with second, Daemon(port) as daemon:
            configure("next-hop", first, daemon.port, daemon.policy_port, 0)
            with first:
                await submit(first.submission_port, account=ACCOUNTS[0])
                (got,) = await hop.wait_for(1)
            log = await second.wait_for_log("orig_queue_id=")
            assert daemon.state_of(f"login:{ACCOUNTS[0].login}") == "normal"
    assert got.sender == "alice@example.test"
    assert "orig_client=" in log


@pytest.mark.e2e
@pytest.mark.parametrize("script", ["reinject", "policy"])
def test_a_port_of_another_program_is_not_taken(script):
    """As mailcow's 127.0.0.1:10026."""
    back = f"127.0.0.1:{free_port()}"
    theirs = [f"{back} inet n - n - 10 smtpd -o content_filter="]
    with Postfix(relay=free_port(), master=theirs) as postfix:
        before = settings_of(postfix)
        services = f"127.0.0.1:{postfix.submission_port}/inet"
        with pytest.raises(subprocess.CalledProcessError) as caught:
            snippets.apply(
                f"postfix/{script}.sh", postfix.config, back=back, services=services
            )
        assert f"{back} that is not mailshaper's" in caught.value.__notes__[0]
        assert settings_of(postfix) == before
