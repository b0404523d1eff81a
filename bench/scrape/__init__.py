"""A scrape with many known senders and much held mail: ``python -m bench.scrape``."""
