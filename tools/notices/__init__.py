"""Example notices for docs/notices.md: made-up cases, the real words and forms."""
