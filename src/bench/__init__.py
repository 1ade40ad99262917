"""What a step costs, beside a peer: the command `python -m src.bench`."""
