"""Outcomes from outside: replies, logs, bounces and complaints, as values."""
