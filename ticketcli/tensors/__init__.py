"""Tensors in files, under masks, ranked; and randomness by counting."""
