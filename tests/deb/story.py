"""The life of the package on one machine, told by root on a freshly booted Debian.

    story.py OLD.deb NEW.deb

Two lives, each from installation to purge with an upgrade in the middle. First the
hop (`hop.py`), with a federation node beside it (`federated.py`). Then placement
"policy", where Postfix keeps what is held and the queue helper lets it go
(`onhold.py`). systemd is the real one, and so are the units' restrictions. Standard
library only: nothing of the package is imported. Ends with status 1 at the first step
that is not as it should be. `scripts/try-deb` makes the machine.
"""

import sys

import federated
import hop
import onhold
from machine import hear, say, shown


def first_life(old, new):
    hop.install(old)
    hop.restrictions()
    hop.autopkgtest()
    names = hop.one_mail()
    federated.unmade()
    federated.begin()
    federated.restrictions()
    federated.answers()
    federated.invited()
    federated.beside_the_shaper()
    names += hop.slowed()
    events, pid = federated.kept(), shown("MainPID", federated.UNIT)
    hop.upgrade(new)
    federated.upgraded(events, pid)
    hop.crash()
    federated.restarted()
    hop.released(names)
    hop.wrong_configuration()
    hop.second_instance()
    events = federated.kept()
    hop.removed()
    federated.removed(events)
    hop.installed_again(new)
    federated.installed_again(events)
    federated.purged()


def second_life(old, new):
    onhold.install(old)
    onhold.one_mail()
    onhold.told_by_the_journal()
    onhold.by_socket()
    onhold.put_on_hold()
    onhold.helper_restrictions()
    onhold.who_may_ask()
    onhold.upgrade(new)
    onhold.let_go()
    onhold.helper_away()
    onhold.removed()
    onhold.installed_again(new)
    onhold.purged()


def main():
    old, new = sys.argv[1:]
    hear()
    first_life(old, new)
    second_life(old, new)
    say("all of it is as it should be")


if __name__ == "__main__":
    main()
