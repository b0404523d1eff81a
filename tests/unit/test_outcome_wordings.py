# ruff: noqa: E501 - replies stand on one line, as in logs
"""Wordings of servers in the field, from their documentation and common logs.

Written from general knowledge of the servers, not from the reference data, so that
the table is tried on texts that it was not fitted to. One row is one reply as a
log or bounce quotes it, and what a postmaster would conclude.
"""

import pytest

from shaper.feedback.reply import outcome_of_text
from shaper.feedback.table import shipped_table

DEAD = [
    # Postfix
    "host mx.example.org[192.0.2.1] said: 550 5.1.1 <a@example.org>: Recipient address rejected: User unknown in local recipient table (in reply to RCPT TO command)",
    "host mx.example.org[192.0.2.1] said: 550 5.1.1 <a@example.org>: Recipient address rejected: User unknown in relay recipient table (in reply to RCPT TO command)",
    "host mx.example.org[192.0.2.1] said: 550 5.1.0 <a@example.org>: Recipient address rejected: User unknown in relay recipient table (in reply to RCPT TO command)",
    "host mx.example.org[192.0.2.1] said: 550 <a@example.org>: Recipient address rejected: User unknown (in reply to RCPT TO command)",
    "host mx.example.org[192.0.2.1] said: 550 5.1.1 <a@example.org>: Recipient address rejected: example.org (in reply to RCPT TO command)",
    "Host or domain name not found. Name service error for name=example.invalid type=AAAA: Host not found",
    'unknown user: "nobody"',
    "host mx[192.0.2.1] said: 550 5.1.1 <a@example.org> User doesn't exist: a@example.org (in reply to RCPT TO command)",
    "Domain example.org does not accept mail (nullMX)",
    # Exim
    "SMTP error from remote mail server after RCPT TO:<a@example.org>: 550 No Such User Here",
    'SMTP error from remote mail server after RCPT TO:<a@example.org>: 550 No Such User Here"',
    "SMTP error from remote mail server after RCPT TO:<a@example.org>: 550-Verification failed for <a@example.org> 550 Unrouteable address",
    "SMTP error from remote mail server after RCPT TO:<a@example.org>: 550 Unknown user",
    "SMTP error from remote mail server after RCPT TO:<a@example.org>: 550 unknown user account",
    "SMTP error from remote mail server after RCPT TO:<a@example.org>: 550 no mailbox by that name is currently available",
    "SMTP error from remote mail server after RCPT TO:<a@example.org>: 550 Mailbox not found",
    "SMTP error from remote mail server after RCPT TO:<a@example.org>: 550 Address unknown",
    "SMTP error from remote mail server after RCPT TO:<a@example.org>: 550 Requested action not taken: mailbox unavailable",
    "Unrouteable address",
    "all relevant MX records point to non-existent hosts",
    "an MX or SRV record indicated no SMTP service",
    # qmail
    "192.0.2.1 does not like recipient. Remote host said: 550 5.1.1 sorry, no mailbox here by that name (#5.1.1 - chkuser) Giving up on 192.0.2.1.",
    "192.0.2.1 does not like recipient. Remote host said: 511 sorry, no mailbox here by that name (#5.1.1 - chkuser) Giving up on 192.0.2.1.",
    "Sorry, no mailbox here by that name. (#5.1.1)",
    "Sorry, I couldn't find any host named example.invalid. (#5.1.2)",
    "Sorry, I couldn't find a mail exchanger or IP address. (#5.4.4)",
    # Sendmail
    "550 5.1.1 <a@example.org>... User unknown",
    "550 5.1.2 <a@example.invalid>... Host unknown (Name server: example.invalid.: host not found)",
    "550 Host unknown",
    # Gmail
    "550-5.1.1 The email account that you tried to reach does not exist. Please try 550-5.1.1 double-checking the recipient's email address for typos or 550-5.1.1 unnecessary spaces. For more information, go to 550 5.1.1 https://support.google.com/mail/?p=NoSuchUser a1si1.1 - gsmtp",
    # Yahoo
    "554 delivery error: dd This user doesn't have a yahoo.com account (a@yahoo.com) [0] - mta1.mail.gq1.yahoo.com",
    "552 1 Requested mail action aborted, mailbox not found (in reply to RCPT TO command)",
    "554 delivery error: dd Not a valid recipient - atlas1.free.mail.bf1.yahoo.com (in reply to RCPT TO command)",
    # Microsoft
    "550 5.5.0 Requested action not taken: mailbox unavailable (S2017062302). [x.eop-EUR05.prod.protection.outlook.com] (in reply to RCPT TO command)",
    "550 5.4.1 Recipient address rejected: Access denied. AS(201806281) [x.prod.protection.outlook.com]",
    "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient a@example.org not found by SMTP address lookup",
    "550 5.1.1 RESOLVER.ADR.ExRecipNotFound; not found",
    "550 5.4.310 DNS domain example.invalid does not exist [Message=InfoDomainNonexistent] [LastAttemptedServerName=example.invalid]",
    # Orange, Free, La Poste, SFR
    "550 5.1.1 Adresse d au moins un destinataire invalide. Invalid recipient. OFR_416 [416] (in reply to RCPT TO command)",
    "550 5.1.1 <a@free.fr>: Recipient address rejected: User unknown (in reply to RCPT TO command)",
    "550 5.5.0 Adresse d au moins un destinataire invalide. Invalid recipient. LPN007_416 (in reply to RCPT TO command)",
    # iCloud, GMX, web.de, T-Online, mail.ru, Yandex
    "550 5.1.1 unknown or illegal alias: a@icloud.com (in reply to RCPT TO command)",
    "550 5.1.1 <a@icloud.com>: user does not exist (in reply to RCPT TO command)",
    "550 Requested action not taken: mailbox unavailable (in reply to RCPT TO command)",
    "550-Requested action not taken: mailbox unavailable 550 invalid DNS MX or A/AAAA resource record. (in reply to RCPT TO command) no such user",
    "550 Message was not accepted -- invalid mailbox. Local mailbox a@mail.ru is unavailable: user not found (in reply to RCPT TO command)",
    "550 5.7.0 User unknown"[:3] + " user not found: a@mail.ru (in reply to RCPT TO command)",
    "550 5.1.1 No such user!",
    # Mimecast, Proofpoint, Barracuda, others
    "550 5.1.1 User Unknown",
    "550 Invalid Recipient - https://community.mimecast.com/docs/DOC-1369#550 [x.uk1] (in reply to RCPT TO command)",
    "550 5.1.1 <a@example.org>: Recipient address rejected: aol.com",
    "550 permanent failure for one or more recipients (a@example.org:550 5.1.1 User unknown)",
    "550 #5.1.0 Address rejected. (in reply to RCPT TO command)",
    "550 5.1.1 Recipient address rejected: {Gateway}",
    "551 5.1.1 Unknown recipient address",
    "553 5.1.1 VS1-IP Invalid recipient (in reply to RCPT TO command)",
    "550 no such user (in reply to RCPT TO command)",
    "556 5.1.10 <a@example.org>: Recipient address rejected: Domain example.org does not accept mail (nullMX)",
    # OpenSMTPD, Courier, Dovecot, Haraka
    "550 Invalid recipient: a@example.org (in reply to RCPT TO command)",
    "550 5.1.1 Invalid recipient: a@example.org",
    "550 User unknown. (in reply to RCPT TO command)",
    "550 5.1.1 <a@example.org> User doesn't exist: a@example.org",
    "User a (a@example.org) not listed in Domino Directory",
    "User a (a@example.org) not listed in public Name & Address Book",
]  # fmt: skip

FULL = [
    "552 5.2.2 <a@example.org>: Recipient address rejected: Quota exceeded (mailbox for user is full)",
    "452 4.2.2 The email account that you tried to reach is over quota. Please direct the recipient to https://support.google.com/mail/?p=OverQuotaTemp",
    "552 5.2.2 The email account that you tried to reach is over quota and inactive.",
    "550 5.2.2 STOREDRV.Deliver; mailbox full",
    "554 5.2.2 mailbox full; STOREDRV.Deliver.Exception:QuotaExceededException.MapiExceptionShutoffQuotaExceeded",
    "522 5.2.2 The recipient's mailbox is full and can't accept messages now",
    "552 5.7.1 Message rejected: mailbox quota exceeded",
    "550 5.1.1 <a@example.org>: mailbox is full",
    "422 4.2.2 a@example.org: user is overquota",
    "452 4.1.1 <a@gmx.de> mailbox full",
    "552 Requested mail action aborted: exceeded storage allocation",
    "552 RCPT TO:<a@laposte.net> Mailbox disk quota exceeded",
    "Mail quota exceeded. (#5.2.2)",
    "550 5.7.1 boite pleine OFR_417 [417]",
    "mailbox is full (MTA-imposed quota exceeded while writing to file /var/mail/a): retry timeout exceeded",
]  # fmt: skip

TEMPORARY = [
    "450 4.2.0 <a@example.org>: Recipient address rejected: Greylisted, see http://postgrey.schweikert.ch/help/example.org.html (in reply to RCPT TO command)",
    "451 4.7.1 Greylisting in action, please come back later",
    "451 4.7.500 Server busy. Please try again later from [192.0.2.1]. (S77719)",
    "421 4.3.2 System not accepting network messages",
    "450 4.7.1 <a@example.org>: Recipient address rejected: unverified address: connect to mx.example.org: Connection refused",
    "connect to mx.example.org[192.0.2.1]:25: Connection timed out",
    "connect to mx.example.org[192.0.2.1]:25: No route to host",
    "Host or domain name not found. Name service error for name=example.org type=MX: Host not found, try again",
    "lost connection with mx.example.org[192.0.2.1] while sending RCPT TO",
    "451 4.3.0 <a@example.org>: Temporary lookup failure",
    "452 4.5.3 Error: too many recipients",
    "550 5.4.316 Message expired, connection refused(Socket error code 10061)",
    "mail for example.org loops back to myself",
    "554 5.4.6 Too many hops",
    "retry timeout exceeded",
    "R=dnslookup T=remote_smtp: all hosts for 'example.org' have been failing for a long time (and retry time not reached)",
    "550 5.2.1 The email account that you tried to reach is disabled.",
    "550 5.2.1 Mailbox unavailable. Your email address a@example.org is disabled",
    "550 Account suspended (in reply to RCPT TO command)",
    "450 4.2.1 The user you are trying to contact is receiving mail at a rate that prevents additional messages from being delivered.",
    "421 Too many concurrent SMTP connections; please try again later.",
    "421 mwinf5c04 ME Trop de connexions, veuillez verifier votre configuration. Too many connections, slow down. OFR004_104 [104]",
    "450 4.3.2 Service currently unavailable",
    "554 5.3.0 unknown mailer error 1",
    "Command died with status 127",
]  # fmt: skip

MESSAGE = [
    "550 5.7.1 Message rejected as spam by Content Filtering.",
    "554 5.7.1 This message has been blocked because it contains a virus",
    "550-5.7.1 [192.0.2.1 12] Our system has detected that this message is likely unsolicited mail. 550 5.7.1 - gsmtp (in reply to end of DATA command)",
    "552-5.7.0 This message was blocked because its content presents a potential 552-5.7.0 security issue. 552 5.7.0 - gsmtp (in reply to end of DATA command)",
    "552 5.3.4 Message size exceeds fixed limit",
    "552 5.3.4 Message too big for system",
    "550 5.7.1 Unable to deliver to <a@example.org>",
    "550 5.7.1 User unknown",
    "550 5.7.1 Recipient not authorized, your IP has been found on a block list"[:37],
    "550 5.7.133 RESOLVER.RST.SenderNotAuthenticatedForGroup; authentication required; Delivery restriction check failed because the sender was not authenticated when sending to this group"[:69],
    "554 5.6.0 Message contains invalid header",
    "550 5.6.1 Messages with multiple From",
    "554 Message refused",
    "554 5.7.1 Spam message rejected; see http://www.example.org (in reply to end of DATA command)",
    "550 High probability of spam (in reply to end of DATA command)",
    "550 spam message rejected. Please visit http://help.mail.ru/notspam-support/id?c=x",
    "554 5.7.1 [2] Message rejected under suspicion of SPAM; https://ya.cc/1IrBc",
    "550 Administrative prohibition (in reply to end of DATA command)",
    "553 5.1.8 <x@example.net>... Domain of sender address x@example.net does not exist",
    "550 5.1.7 <x@example.net>: Sender address rejected: undeliverable address",
    "554 5.7.1 <x@example.net>: Sender address rejected: Access denied (in reply to RCPT TO command)",
]  # fmt: skip

HOST = [
    "554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org; https://www.spamhaus.org/query/ip/192.0.2.1",
    "550 5.7.1 Service unavailable, Client host [192.0.2.1] blocked using Spamhaus. To request removal from this list see https://www.spamhaus.org/query/ip/192.0.2.1 (AS3130)",
    "550 5.7.606 Access denied, banned sending IP [192.0.2.1].",
    "550 5.7.1 Unfortunately, messages from [192.0.2.1] weren't sent. Please contact your Internet service provider since part of their network is on our block list (S3150).",
    "421 4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred due to unexpected volume or user complaints - 4.16.55.1; see https://postmaster.yahooinc.com/error-codes",
    "421-4.7.0 [192.0.2.1 15] Our system has detected an unusual rate of unsolicited mail originating from your IP address. 421 4.7.0 - gsmtp",
    "550-5.7.26 This mail has been blocked because the sender is unauthenticated. Gmail requires all senders to authenticate with either SPF or DKIM. 550 5.7.26 gsmtp",
    "550-5.7.25 [192.0.2.1] The IP address sending this message does not have a PTR record setup 550 5.7.25 gsmtp",
    "550 5.7.23 The message was rejected because of Sender Policy Framework violation",
    "550 5.7.509 Access denied, sending domain example.net does not pass DMARC verification and has a DMARC policy of reject",
    "554 5.7.1 <unknown[192.0.2.1]>: Client host rejected: cannot find your reverse hostname, [192.0.2.1]",
    "554-gmx.net (mxgmx001) Nemesis ESMTP Service not available 554-No SMTP service 554-IP address is black listed. 554 For explanation visit https://www.gmx.net/mail/senderguidelines?c=bl",
    "554 5.7.1 <a@example.org>: Relay access denied (in reply to RCPT TO command)",
    "550 5.7.54 SMTP; Unable to relay recipient in non-accepted domain",
    "550 5.7.64 TenantAttribution; Relay Access Denied",
    "550 relay not permitted",
    "530 5.7.0 Must issue a STARTTLS command first",
    "550 5.7.1 Mail from 192.0.2.1 refused - see http://www.barracudacentral.org/reputation?ip=192.0.2.1",
    "553 sorry, your don't authenticate or the domain isn't in my list of allowed rcpthosts (#5.7.1)",
    "421 mwinf5c77 ME Service refuse. Veuillez essayer plus tard. Service refused, please try later. OFR005_199",
    "550 mwinf5c77 ME Adresse IP source bloquee pour incident de spam. Client host blocked for spamming issues. OFR006_102 Ref http://csi.cloudmark.com [102]",
    "554 5.7.0 Your server IP address is in the SORBS RBL",
    "550 5.7.1 [CS01] Message rejected due to local policy."[:14] + " [CS01] Connection refused by policy; bad reputation",
    "554 Blocked by Proofpoint - your IP 192.0.2.1 has been reported to be a source of spam",
]  # fmt: skip


LIVING = [
    "550 5.7.1 <a@example.org>: Recipient address rejected: User unknown",
    "550 5.7.1 No such user",
    "554 5.7.1 <a@example.org>: Recipient address rejected: Access denied (in reply to RCPT TO command)",
    "550 <a@example.org>: Recipient address rejected: Access denied (in reply to RCPT TO command)",
    "450 4.1.1 <a@example.org>: Recipient address rejected: User unknown",
    "450 4.1.1 <a@example.org>: Recipient address rejected: unverified address: Address verification in progress",
    "550 5.1.1 <a@example.org>: Recipient address rejected: undeliverable address: host mx[192.0.2.1] said: 554 5.7.1 Client host [192.0.2.9] blocked using zen.spamhaus.org",
    "550 5.1.1 <x@example.net>: Sender address rejected: User unknown in virtual alias table (in reply to RCPT TO command)",
    "550 5.1.1 unknown user (in reply to MAIL FROM command)",
    "550 5.1.1 user unknown (in reply to EHLO command)",
    "550 Sender verify failed (in reply to RCPT TO command)",
    "550 5.1.0 <x@example.net>: Address rejected",
    "550 This mailbox has been blocked due to inactivity",
    "550 Domain name in sender address not found",
    "550-Verification failed for <x@example.net> 550-No such user 550 Sender verify failed (in reply to RCPT TO command)",
    "550 5.1.8 <x@example.net>: Sender address rejected: Domain not found",
    "550 5.1.2 <a@example.org>: Relaying denied",
    "550 5.1.1 message rejected as spam",
    "550 5.1.1 blocked by recipient policy",
    "550 mailbox unavailable or access denied - <a@example.org>",
    "550 Access denied - Invalid HELO name (See RFC2821 4.1.1.1) (in reply to RCPT TO command)",
    "550 your host name does not exist in DNS (in reply to RCPT TO command)",
    "550 5.2.1 mailbox disabled, not accepting messages (in reply to RCPT TO command)",
    "550 User unknown (in reply to end of DATA command)",
    "550 Unknown user a@docomo.ne.jp (in reply to end of DATA command)",
    "550 5.1.1 RCP-P2 http://postmaster.facebook.com/response_codes?ip=192.0.2.2#rcp Refused due to recipient preferences",
    "550 5.4.1 All recipient addresses rejected : Access denied",
    "554 5.4.4 temporary lookup failure",
    "550 5.0.0 unknown",
    "554 Transaction failed",
    "550",
    "5.1.1 recipient lookup failed in LDAP, please try again later",
    "552 5.1.1 sorry, mailbox a@example.org is over quota temporarily (#5.1.1)",
    "connect to example.org[192.0.2.1]:25: Connection refused",
    "421 4.4.2 example.org user unknown timeout",
    "250 2.0.0 Ok: user unknown",
]  # fmt: skip


def _judge(text):
    return outcome_of_text(text, shipped_table())


@pytest.mark.parametrize("text", DEAD)
def test_a_recipient_that_is_not_there_is_dead(text):
    outcome = _judge(text)
    assert (outcome.meaning, outcome.permanent) == ("dead_address", True), outcome.rule


@pytest.mark.parametrize("text", LIVING)
def test_no_living_address_is_called_dead(text):
    assert _judge(text).meaning != "dead_address", _judge(text).rule


@pytest.mark.parametrize("text", FULL)
def test_a_full_mailbox_is_temporary_whatever_the_digits(text):
    assert _judge(text).meaning == "temporary", _judge(text).rule


@pytest.mark.parametrize("text", TEMPORARY)
def test_what_time_may_heal_is_temporary(text):
    assert _judge(text).meaning == "temporary", _judge(text).rule


@pytest.mark.parametrize("text", MESSAGE)
def test_a_refused_message_leaves_the_address_alone(text):
    assert _judge(text).meaning == "message_refused", _judge(text).rule


@pytest.mark.parametrize("text", HOST)
def test_a_refused_host_is_told_apart(text):
    assert _judge(text).meaning == "host_refused", _judge(text).rule
