"""Graph signals: what the whole typed graph says, by a network and by typed paths."""
