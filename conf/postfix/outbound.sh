#!/bin/sh
# The second Postfix instance, behind mailshaper: takes mail from it on loopback and
# delivers it to the world. Make it first (docs/postfix.md), then run as root:
# MAIL_CONFIG=/etc/postfix-out sh outbound.sh
set -eu
listen=127.0.0.1:10026   # hop.next_hop

# A new instance listens on port 25 like the first one would.
if postconf -M | grep -q '^smtp  *inet'; then postconf -MX smtp/inet; fi
postconf -e "master_service_disable =" \
  "authorized_submit_users =" \
  "enable_long_queue_ids = yes" \
  "mydestination =" "local_recipient_maps =" "alias_maps =" "alias_database =" \
  "local_transport = error:this instance delivers nothing here" \
  "mynetworks = 127.0.0.0/8" \
  "smtpd_authorized_xforward_hosts = 127.0.0.0/8" \
  "smtpd_relay_restrictions = permit_mynetworks,reject" \
  "smtpd_recipient_restrictions = permit_mynetworks,reject" \
  "receive_override_options = no_address_mappings,no_header_body_checks,no_milters"
postconf -M "$listen/inet=$listen inet n - n - - smtpd"
