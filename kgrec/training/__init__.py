"""Training of a hybrid model, and the fold-in of later data."""
