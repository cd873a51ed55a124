"""Split lists: rows named by a file, as the long-tailed benchmarks publish them."""
