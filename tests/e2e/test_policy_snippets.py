"""The scripts for placement policy: twice is once, your restrictions stay, and off."""

import shutil

import pytest

from tests.support import snippets
from tests.support.postfix import Postfix

pytestmark = pytest.mark.e2e

ASK = "check_policy_service { inet:127.0.0.1:10027, timeout=5s, default_action=DUNNO }"


@pytest.fixture
def postfix():
    main = {"smtpd_recipient_restrictions": "reject_non_fqdn_recipient,permit"}
    made = Postfix(relay=9, main=main)
    yield made
    shutil.rmtree(made.directory)


@pytest.fixture
def service(postfix):
    return f"127.0.0.1:{postfix.submission_port}/inet"


def setting(postfix, service, name):
    """Return the value that counts for a service."""
    value = postfix.command("postconf", "-Ph", f"{service}/{name}").strip()
    if value.startswith("$"):
        value = postfix.command("postconf", "-h", value[1:]).strip()
    return value


def test_twice_is_once_and_off_leaves_your_own(postfix, service):
    for _ in range(2):
        snippets.apply("postfix/policy.sh", postfix.config, services=service)
    ours = setting(postfix, service, "smtpd_recipient_restrictions")
    assert ours == f"{ASK}, reject_non_fqdn_recipient,permit"
    assert setting(postfix, service, "smtpd_end_of_data_restrictions") == ASK
    main = postfix.command("postconf", "-h", "smtpd_recipient_restrictions").strip()
    assert main == "reject_non_fqdn_recipient,permit", "port 25 is not asked about"
    snippets.apply("postfix/policy-off.sh", postfix.config)
    ours = setting(postfix, service, "smtpd_recipient_restrictions")
    assert ours == "reject_non_fqdn_recipient,permit"
    assert setting(postfix, service, "smtpd_end_of_data_restrictions") == ""
    snippets.apply("postfix/policy.sh", postfix.config, services=service)
    assert setting(postfix, service, "smtpd_end_of_data_restrictions") == ASK


def test_another_address_takes_the_place_of_the_first(postfix, service):
    snippets.apply("postfix/policy.sh", postfix.config, services=service)
    other = "unix:shaper/ask"
    for _ in range(2):
        snippets.apply(
            "postfix/policy.sh", postfix.config, services=service, policy=other
        )
    ask = ASK.replace("inet:127.0.0.1:10027", other)
    ours = setting(postfix, service, "smtpd_recipient_restrictions")
    assert ours == f"{ask}, reject_non_fqdn_recipient,permit"
    assert setting(postfix, service, "smtpd_end_of_data_restrictions") == ask
    snippets.apply("postfix/policy-off.sh", postfix.config)
    ours = setting(postfix, service, "smtpd_recipient_restrictions")
    assert ours == "reject_non_fqdn_recipient,permit"


@pytest.mark.parametrize(
    "slipped",
    [
        "{name}=permit_sasl_authenticated, {ask}, permit",
        "{key}=permit_sasl_authenticated,${name}",
        "{key}=permit_sasl_authenticated,${name},permit",
    ],
)
def test_a_question_that_slipped_behind_is_put_first_again(postfix, service, slipped):
    snippets.apply("postfix/policy.sh", postfix.config, services=service)
    key = f"{service}/smtpd_recipient_restrictions"
    name = postfix.command("postconf", "-Ph", key).strip()[1:]
    how = "-P" if slipped.startswith("{key}") else "-e"
    text = slipped.format(name=name, key=key, ask=ASK)
    postfix.command("postconf", how, text)
    snippets.apply("postfix/policy.sh", postfix.config, services=service)
    ours = setting(postfix, service, "smtpd_recipient_restrictions")
    assert ours.startswith(f"{ASK}, permit_sasl_authenticated")
    assert ours.count("check_policy_service") == 1
    assert "$" not in ours
    assert ("reject_non_fqdn_recipient" in ours) == slipped.startswith("{key}")


def test_services_may_come_in_another_order(postfix, service):
    other = "127.0.0.1:9/inet"
    postfix.command("postconf", "-M", f"{other}=127.0.0.1:9 inet n - n - - smtpd")
    for services in (service, f"{other} {service}", f"{service} {other}"):
        snippets.apply("postfix/policy.sh", postfix.config, services=services)
    for one in (service, other):
        ours = setting(postfix, one, "smtpd_recipient_restrictions")
        assert ours == f"{ASK}, reject_non_fqdn_recipient,permit"
    snippets.apply("postfix/policy-off.sh", postfix.config)
    assert "check_policy_service" not in postfix.command("postconf", "-n")


def test_a_service_that_is_not_there_is_named(postfix):
    with pytest.raises(Exception, match="postfix/policy") as failure:
        snippets.apply("postfix/policy.sh", postfix.config, services="nosuch/inet")
    assert "no service nosuch/inet" in failure.value.__notes__[0]
