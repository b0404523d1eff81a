#!/bin/sh
# Take Postfix back from mailshaper: undoes reinject.sh and next-hop.sh. Mail that
# waits in the queue for mailshaper goes its way again without it.
# The re-injection port stays, for what mailshaper still holds: see docs/postfix.md.
# MAIL_CONFIG=/etc/postfix-two chooses another instance.
set -eu
services=$(postconf -P | sed -n 's|^\([^ ]*\)/content_filter = shaper:.*|\1|p')
for service in $services; do
  postconf -PX "$service/content_filter" "$service/receive_override_options"
done
postconf -X smtpd_end_of_data_restrictions
case $(postconf -h default_transport) in shaper:*) postconf -X default_transport ;; esac
postfix reload
postsuper -r ALL deferred
