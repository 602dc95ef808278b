"""Named image sets, kept in memory as bytes, and batches that are a function of (seed, epoch, index)."""
