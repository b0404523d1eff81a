#!/bin/sh
# Postfix hands outbound mail to mailshaper and takes it back on a port of its own.
# Run as root, then `postfix reload`. MAIL_CONFIG=/etc/postfix-two chooses another
# instance; off.sh undoes it. docs/postfix.md says why each line is there.
set -eu
shaper=127.0.0.1:10025   # hop.listen
back=127.0.0.1:10026     # hop.next_hop
policy=inet:127.0.0.1:10027   # policy.listen; a socket: unix:PATH
# The services of master.cf that take outbound mail; name only those you have.
services="submission/inet submissions/inet pickup/unix"
filter="shaper:[${shaper%:*}]:${shaper##*:}"
ask="check_policy_service { $policy, timeout=5s, default_action=DUNNO }"

for service in $services; do
  [ -n "$(postconf -M "$service" 2>/dev/null)" ] || {
    echo "master.cf has no service $service: name yours at the top of $0 (postconf -M lists them)" >&2
    exit 1
  }
  for kind in content_filter smtpd_proxy_filter; do
    old=$(postconf -Ph "$service/$kind" 2>/dev/null)
    case ${old:=$(postconf -h $kind)} in '' | "\$$kind" | "$filter") ;; *)
      echo "$service has the $kind $old: see docs/postfix.md, Other filters" >&2
      exit 1 ;;
    esac
  done
done

case $(postconf -Ph "$back/inet/syslog_name" 2>/dev/null) in
  postfix/shaped | postfix/shaper-notice) ;; # ours, of an earlier run
  *) [ -z "$(postconf -M "$back/inet" 2>/dev/null)" ] || {
    echo "master.cf has a service $back that is not mailshaper's: choose another hop.next_hop, then mailshaper setup postfix" >&2
    exit 1
  } ;;
esac

# Tells mailshaper which login owns a queue id. Restrictions of yours stay behind it.
old=$(postconf -h smtpd_end_of_data_restrictions)
case $old in
  *"check_policy_service { $policy,"*) ;;
  *) old="$ask${old:+, $old}" ;;
esac

postconf -e "enable_long_queue_ids = yes" \
  "shaper_destination_recipient_limit = 1000" \
  "shaper_destination_concurrency_failed_cohort_limit = 10" \
  "shaper_destination_concurrency_limit = 20" \
  "shaper_destination_rate_delay = 0s" \
  "shaper_transport_rate_delay = 0s" \
  "smtpd_end_of_data_restrictions = $old"

postconf -M "shaper/unix=shaper unix - - n - 20 smtp \
  -o smtp_send_xforward_command=yes \
  -o smtp_tls_security_level=none \
  -o smtp_tls_wrappermode=no \
  -o smtp_tls_policy_maps= \
  -o smtp_sasl_auth_enable=no \
  -o smtp_fallback_relay= \
  -o smtp_bind_address= \
  -o smtp_bind_address6= \
  -o inet_interfaces=all \
  -o smtp_generic_maps= \
  -o smtp_header_checks= \
  -o smtp_mime_header_checks= \
  -o smtp_nested_header_checks= \
  -o smtp_body_checks= \
  -o disable_mime_output_conversion=yes"

postconf -M "$back/inet=$back inet n - n - - smtpd \
  -o syslog_name=postfix/shaped \
  -o content_filter= \
  -o receive_override_options=no_unknown_recipient_checks,no_header_body_checks,no_milters \
  -o mynetworks=127.0.0.0/8 \
  -o smtpd_authorized_xforward_hosts=127.0.0.0/8 \
  -o smtpd_tls_security_level=none \
  -o smtpd_sasl_auth_enable=no \
  -o smtpd_client_restrictions= \
  -o smtpd_helo_restrictions= \
  -o smtpd_sender_restrictions= \
  -o smtpd_recipient_restrictions=permit_mynetworks,reject \
  -o smtpd_relay_restrictions=permit_mynetworks,reject \
  -o smtpd_data_restrictions= \
  -o smtpd_end_of_data_restrictions= \
  -o smtpd_client_event_limit_exceptions=127.0.0.0/8 \
  -o smtpd_error_sleep_time=0 \
  -o smtpd_soft_error_limit=1001 \
  -o smtpd_hard_error_limit=1000"

for service in $services; do
  old=$(postconf -Ph "$service/receive_override_options" 2>/dev/null)
  case ${old:=$(postconf -h receive_override_options)} in
    *no_address_mappings*) ;;
    *) old="${old:+$old,}no_address_mappings" ;;
  esac
  postconf -P "$service/content_filter=$filter" "$service/receive_override_options=$old"
done
