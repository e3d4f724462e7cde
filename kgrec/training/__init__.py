"""The fit of a model, and the fold-in of what came after it."""
