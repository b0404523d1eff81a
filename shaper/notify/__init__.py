"""Telling people: the mail that says an account may be stolen, in two languages."""
