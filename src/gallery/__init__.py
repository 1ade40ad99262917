"""`python -m src.gallery FOLDER`: every run below a folder on one page, to choose by looking."""
