#!/bin/sh
# Postfix hands all mail for other hosts to mailshaper, which hands it on to a
# smarthost or to a second Postfix instance (outbound.sh).
# Run as root, then `postfix reload`. MAIL_CONFIG=/etc/postfix-two chooses another
# instance; off.sh undoes it. docs/postfix.md says why each line is there.
set -eu
shaper=127.0.0.1:10025   # hop.listen
policy=127.0.0.1:10027   # policy.listen

postconf -M "shaper/unix=shaper unix - - n - 20 smtp \
  -o smtp_send_xforward_command=yes \
  -o smtp_tls_security_level=none \
  -o smtp_sasl_auth_enable=no \
  -o disable_mime_output_conversion=yes"

postconf -e "enable_long_queue_ids = yes" \
  "smtpd_end_of_data_restrictions = check_policy_service { inet:$policy, timeout=5s, default_action=DUNNO }" \
  "shaper_destination_recipient_limit = 1000" \
  "shaper_destination_concurrency_failed_cohort_limit = 10" \
  "default_transport = shaper:[${shaper%:*}]:${shaper##*:}"
