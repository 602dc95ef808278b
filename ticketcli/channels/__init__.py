"""Whole channels of convolutions: what hangs together, what is worth keeping, and the network without the rest."""
