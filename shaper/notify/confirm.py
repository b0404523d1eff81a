"""The mail that asks a recipient whether its mailbox is alive: one link, no more.

Pure. It goes to somebody who did not ask for it, so it is short, says who writes
and why, and needs no answer: without one nothing changes.
"""

from __future__ import annotations

from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import TYPE_CHECKING

from shaper.core.envelope import Envelope, Recipient

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["confirmation"]

_WORDS = {
    "en": {
        "subject": "Is this mailbox in use again?",
        "body": """\
Hello,

this is the mail server {hostname}. It delivers mailings to this address
for organisations that you are, or were, in touch with.

The last mailings came back: your mailbox took no mail. That is why no
more mailings are sent to you.

Is your mailbox in order again, and do you want them? Then open this page
and press its button (the link is good for {days} days):

  {link}

If not, you need not do anything.
""",
    },
    "fr": {
        "subject": "Cette boîte aux lettres est-elle de nouveau utilisée ?",
        "body": """\
Bonjour,

ici le serveur de courrier {hostname}. Il distribue à cette adresse les
envois d'organisations avec lesquelles vous êtes, ou étiez, en contact.

Les derniers envois sont revenus : votre boîte n'acceptait plus de
courrier. C'est pourquoi plus aucun envoi ne vous est adressé.

Votre boîte fonctionne de nouveau et vous souhaitez les recevoir ?
Ouvrez alors cette page et appuyez sur son bouton (le lien est valable
{days} jours) :

  {link}

Sinon, vous n'avez rien à faire.
""",
    },
}


def confirmation(
    address: str,
    link: str,
    *,
    sender: str,
    hostname: str,
    language: str,
    days: int,
    when: datetime,
    message_id: str,
) -> tuple[Envelope, bytes]:
    """Return envelope and wire form. Nothing comes back if it fails."""
    words = _WORDS[language]
    mail = EmailMessage(policy=SMTP)
    mail["Date"] = format_datetime(when)
    mail["From"] = f"mailshaper <{sender}>"
    # The address stands in the envelope only: it may be such as no header takes.
    mail["To"] = "undisclosed-recipients:;"
    mail["Subject"] = words["subject"]
    mail["Message-ID"] = f"<{message_id}@{hostname}>"
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834 5
    body = words["body"].format(hostname=hostname, link=link, days=days)
    # A link must arrive whole; quoted-printable would break it for some readers.
    cte = "7bit" if body.isascii() else "8bit"
    mail.set_content(body, cte=cte)
    mail["Content-Language"] = language  # set_content drops what was there
    # The null sender: a bounce of this mail is of no use to anybody.
    parameters = () if body.isascii() else ("BODY=8BITMIME",)
    envelope = Envelope("", (Recipient(address),), parameters)
    return envelope, mail.as_bytes().replace(b"\r\n.", b"\r\n..")  # RFC 5321 4.5.2
