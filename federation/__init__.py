"""Signed exchange of reputation facts between independent operators."""
