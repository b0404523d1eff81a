"""The log: which lines are taken, kept and forgotten, in one SQLite file.

``chain``, ``identity`` and ``derive`` are pure; ``store`` and its tables keep what
they say; ``admission`` takes foreign lines and ``own`` writes this host's.
"""
