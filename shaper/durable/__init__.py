"""What spool and journal share: sealed lines, fsync'd files, grouped commits.

Standard library only, knows nothing of mail. Every failure to write is the one
``SpoolFullError`` of the ports: whatever the disk's reason, the answer to the
client is the same (452 4.3.1), and nothing is left half written.
"""
