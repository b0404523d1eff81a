"""What many senders and many large messages cost: `python -m bench.scale`."""
