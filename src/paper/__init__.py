"""The paper, claim by claim: the command `python -m src.paper`, and what it is made of."""
