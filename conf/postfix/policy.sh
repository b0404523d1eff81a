#!/bin/sh
# Placement policy: Postfix asks mailshaper about outbound mail and keeps what is held.
# Run as root, then `postfix reload`. MAIL_CONFIG=/etc/postfix-two chooses another
# instance; policy-off.sh undoes it. docs/placement-policy.md says why each line is there.
set -eu
policy=inet:127.0.0.1:10027   # policy.listen; a socket: unix:PATH
back=127.0.0.1:10026     # hop.next_hop: where mailshaper hands in its own notices
# The services of master.cf that take outbound mail; name only those you have.
services="submission/inet submissions/inet"
ask="check_policy_service { $policy, timeout=5s, default_action=DUNNO }"

for service in $services; do
  [ -n "$(postconf -M "$service" 2>/dev/null)" ] || {
    echo "master.cf has no service $service: name yours at the top of $0 (postconf -M lists them)" >&2
    exit 1
  }
done

case $(postconf -Ph "$back/inet/syslog_name" 2>/dev/null) in
  postfix/shaped | postfix/shaper-notice) ;; # ours, of an earlier run
  *) [ -z "$(postconf -M "$back/inet" 2>/dev/null)" ] || {
    echo "master.cf has a service $back that is not mailshaper's: choose another hop.next_hop, then mailshaper setup postfix" >&2
    exit 1
  } ;;
esac

# Restrictions of yours stay, behind the question: what permits ends a list.
literal=$(printf '%s' "$policy" | sed 's/[].[*^$|\\]/\\&/g')
set -- "enable_long_queue_ids = yes"
names=''
for service in $services; do
  for stage in recipient end_of_data; do
    name="mailshaper_${stage}_$(printf %s "$service" | tr -c a-zA-Z0-9 _)"
    old=$(postconf -Ph "$service/smtpd_${stage}_restrictions" 2>/dev/null)
    case ${old:=$(postconf -h "smtpd_${stage}_restrictions")} in
      # Ours, of an earlier run: what it holds, without its question, which may name
      # another address.
      *"\$mailshaper_${stage}_"*)
        ours=$(printf '%s\n' "$old" | sed 's/.*\$\(mailshaper_[A-Za-z0-9_]*\).*/\1/')
        kept=$(postconf -h "$ours" | sed 's/^check_policy_service {[^}]*},\{0,1\} *//')
        old=${old%%"\$$ours"*}$kept${old#*"\$$ours"} ;;
    esac
    old=$(printf '%s\n' "$old" | sed "s|check_policy_service { $literal,[^}]*},\\{0,1\\} *||g
      s|\\\$mailshaper_${stage}_[A-Za-z0-9_]*||g; s|[, ]*\$||")
    set -- "$@" "$name = $ask${old:+, $old}"
    names="$names $service/smtpd_${stage}_restrictions=\$$name"
  done
done
# All at once: Postfix waits a second before it reads what was just written.
postconf -e "$@"
postconf -P $names

postconf -M "$back/inet=$back inet n - n - - smtpd \
  -o syslog_name=postfix/shaper-notice \
  -o content_filter= \
  -o mynetworks=127.0.0.0/8 \
  -o smtpd_tls_security_level=none \
  -o smtpd_sasl_auth_enable=no \
  -o smtpd_client_restrictions= \
  -o smtpd_helo_restrictions= \
  -o smtpd_sender_restrictions= \
  -o smtpd_recipient_restrictions=permit_mynetworks,reject \
  -o smtpd_relay_restrictions=permit_mynetworks,reject \
  -o smtpd_data_restrictions= \
  -o smtpd_end_of_data_restrictions="
