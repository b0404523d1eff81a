"""What a message costs on its way through the hop: `python -m bench.hop`."""
