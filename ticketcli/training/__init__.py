"""The one training loop, BatchNorm recalibration, and what is yielded to the shell."""
