"""The mail to the owner of a blocked account: plain words, no internals.

Pure. It goes only to a login that is itself an ordinary address, and says nothing
that a thief who reads the same mailbox could use: no limits, no evidence, no names.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import TYPE_CHECKING

from shaper.core.envelope import Envelope, Recipient

if TYPE_CHECKING:
    from shaper.core.case import Case
    from shaper.notify.mail import NoticeSettings

__all__ = ["owner_address", "owner_notice"]

# Narrower than RFC 5321 on purpose: nobody is to be mailed by a guess.
_ADDRESS = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9._%+'-]{0,63}@(?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z0-9-]{2,63}"
)

_WORDS = {
    "en": (
        "Your mail account: sending is paused",
        """\
Hello,

the mail account {address} has just sent mail that does not look like
yours. Somebody else may be using it. To protect you, and everybody you
write to, its outgoing mail waits until your provider has looked at it.
Nothing is lost. You can still receive and read mail.

Please do this now:

  1. Change the password of this mail account, from a device that you
     trust. Choose one that you use nowhere else.
  2. Change it on your phone, tablet and computer as well. Remove
     devices and programs that you do not know.
  3. Look through the settings of your mailbox for forwarding addresses,
     filters and signatures that are not yours, and remove them.
  4. Have your computer checked for viruses.
  5. Then contact your provider, best by telephone, to have your mail
     sent on.

If you sent this mail yourself, a newsletter for example, just tell your
provider.

We never ask for your password, and this mail contains no link.

Your mail server {hostname}
""",
    ),
    "fr": (
        "Votre compte de messagerie : l'envoi est suspendu",
        """\
Bonjour,

le compte de messagerie {address} vient d'envoyer des messages qui ne
ressemblent pas aux vôtres. Quelqu'un d'autre l'utilise peut-être. Pour
vous protéger, ainsi que vos correspondants, vos envois attendent que
votre hébergeur les ait examinés. Rien n'est perdu. Vous pouvez toujours
recevoir et lire du courrier.

Voici ce qu'il faut faire dès maintenant :

  1. Changez le mot de passe de ce compte, depuis un appareil sûr.
     Choisissez-en un que vous n'utilisez nulle part ailleurs.
  2. Changez-le aussi sur votre téléphone, votre tablette et votre
     ordinateur. Retirez les appareils et les programmes inconnus.
  3. Cherchez dans les réglages de votre boîte les redirections, les
     filtres et les signatures qui ne sont pas de vous, et retirez-les.
  4. Faites vérifier votre ordinateur contre les virus.
  5. Contactez ensuite votre hébergeur, de préférence par téléphone,
     pour que vos envois reprennent.

Si vous avez envoyé ces messages vous-même, une lettre d'information par
exemple, dites-le simplement à votre hébergeur.

Nous ne demandons jamais votre mot de passe, et ce message ne contient
aucun lien.

Votre serveur de courrier {hostname}
""",
    ),
}


def owner_address(sender: str) -> str:
    """Return the address of a sender whose login is one, else ""."""
    kind, _, login = sender.partition(":")
    return login if kind == "login" and _ADDRESS.fullmatch(login) else ""


def owner_notice(
    case: Case, settings: NoticeSettings, hostname: str, now: float
) -> tuple[Envelope, bytes] | None:
    """Return the mail, None when the login is no address. Its bounce goes nowhere."""
    address = owner_address(case.sender)
    if not address:
        return None
    subject, body = _WORDS[settings.language]
    nobreak = "\N{NO-BREAK SPACE}:" if settings.language == "fr" else " :"
    when = datetime.fromtimestamp(now, settings.zone or UTC)
    mail = EmailMessage(policy=SMTP)
    mail["Date"] = format_datetime(when if settings.zone else when.astimezone())
    mail["From"] = f"Postmaster <{settings.sender}>"
    mail["To"] = address
    mail["Subject"] = subject.replace(" :", nobreak)
    mail["Message-ID"] = f"<{case.id}.owner@{hostname}>"
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834 5
    mail["Content-Language"] = settings.language
    text = body.format(address=address, hostname=hostname).replace(" :", nobreak)
    mail.set_content(text, cte="quoted-printable")
    content = mail.as_bytes().replace(b"\r\n.", b"\r\n..")  # RFC 5321 4.5.2
    return Envelope("", (Recipient(address),)), content
