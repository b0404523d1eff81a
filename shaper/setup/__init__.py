"""The snippets of conf/, filled in for this machine; nothing is ever edited."""
