"""Measuring finished runs: the command `python -m src.evaluate`, and what it is made of."""
