"""Run the detector over a host's own past."""
