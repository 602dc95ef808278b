"""One file a suite: a generator of rows, given a `BenchJob`."""
