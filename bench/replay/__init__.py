"""How fast an old log is read and judged, and in how much memory."""
