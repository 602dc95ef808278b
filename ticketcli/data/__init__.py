"""Image sets by name or path, in memory or on disk; batches that are a function of (seed, epoch, index)."""
