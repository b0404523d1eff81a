"""What mail servers tell beside SMTP: Postfix policy requests."""
