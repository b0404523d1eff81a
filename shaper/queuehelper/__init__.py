"""The only part of mailshaper that runs as root: it moves mail out of the MTA's hold.

The daemon has no rights over the mail server's queue. It asks here, one line over
a unix socket, and is answered one line. The whole program is this directory, uses
the standard library only and is meant to be read in an evening. What it promises:

* Only the user id it was told (SO_PEERCRED) may ask; every other is hung up on.
* It touches only mail that is in the MTA's hold at that moment (Postfix: the hold
  queue; Exim: frozen). Anything else is answered ``not-held`` and left alone.
* A queue id is a fixed alphabet and length; no shell, no other argument, absolute
  paths, a clean environment, bounded output, bounded time.

Protocol, ASCII, one request of at most 50 different queue ids per connection:

    state ID [ID ...]    one line "ID held|queued|absent" each, then "done"
    release ID [ID ...]  let them go on now
    requeue ID [ID ...]  the same, with a new life time (Postfix gives new ids)
    drop ID [ID ...]     delete them, tell nobody
    return ID [ID ...]   the MTA's own bounce to the sender of each

Answers: ``done``, ``not-held queued``, ``not-held absent`` (nothing was changed),
``refused WHY`` (the request is no such request), ``failed WHY`` (the MTA's command
did not do it, or not all of it; ask ``state`` before asking again). To one about
several, a line "ID done" or "ID not-held ..." each, then "done". Asking twice
changes nothing.
"""
