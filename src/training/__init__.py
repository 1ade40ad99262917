"""Training the depth head: the command `python -m src.training FOLDER`."""
