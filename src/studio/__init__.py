"""`python -m src.studio`: a page on this machine, from the first photo to the compared results."""
