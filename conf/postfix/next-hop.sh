#!/bin/sh
# Postfix hands all mail for other hosts to mailshaper, which hands it on to a
# smarthost or to a second Postfix instance (outbound.sh).
# Run as root, then `postfix reload`. MAIL_CONFIG=/etc/postfix-two chooses another
# instance; off.sh undoes it. docs/postfix.md says why each line is there.
set -eu
shaper=127.0.0.1:10025   # hop.listen
policy=inet:127.0.0.1:10027   # policy.listen; a socket: unix:PATH
ask="check_policy_service { $policy, timeout=5s, default_action=DUNNO }"

old=$(postconf -h default_transport)
case $old in smtp | shaper:*) ;; *)
  echo "default_transport is $old, not smtp: see docs/postfix.md, Other transports" >&2
  exit 1 ;;
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
  "default_transport = shaper:[${shaper%:*}]:${shaper##*:}" \
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
  -o disable_mime_output_conversion=yes"
