"""`python -m src.views RUN`: finished pictures in three dimensions."""
