"""How well outcomes are understood, measured on reference data."""
