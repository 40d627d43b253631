"""The benchmarks of jadro: `python -m benchmarks --help`; the method is in docs/benchmarks.md."""
