#!/bin/sh
# Take Postfix back from mailshaper: undoes reinject.sh and next-hop.sh. Mail that
# waits in the queue for mailshaper goes its way without it.
# The transport and the re-injection port stay, for what mailshaper still holds: see
# docs/postfix.md. MAIL_CONFIG=/etc/postfix-two chooses another instance.
set -eu
policy=inet:127.0.0.1:10027   # policy.listen; a socket: unix:PATH

services=$(postconf -P | sed -n 's|^\([^ ]*\)/content_filter = shaper:.*|\1|p')
for service in $services; do
  old=$(postconf -Ph "$service/receive_override_options" 2>/dev/null)
  rest=$(printf '%s\n' "$old" | sed 's/no_address_mappings//; s/[, ][, ]*/,/g; s/^,//; s/,$//')
  postconf -PX "$service/content_filter" "$service/receive_override_options"
  [ -z "$rest" ] || postconf -P "$service/receive_override_options=$rest"
done
old=$(postconf -h smtpd_end_of_data_restrictions)
literal=$(printf '%s' "$policy" | sed 's/[].[*^$|\\]/\\&/g')
rest=$(printf '%s\n' "$old" | sed "s|,\\{0,1\\} *check_policy_service { $literal,[^}]*}||; s/^, *//")
case $rest in
  '') postconf -X smtpd_end_of_data_restrictions ;;
  "$old") ;;
  *) postconf -e "smtpd_end_of_data_restrictions = $rest" ;;
esac
case $(postconf -h content_filter) in
  shaper:*) postconf -X content_filter ;;
esac
case $(postconf -h default_transport) in
  shaper:*) postconf -X default_transport ;;
esac
postfix reload
postsuper -r ALL deferred
postqueue -f
