"""SMTP on both sides: the ingress that takes mail, the forwarder that passes it on."""
