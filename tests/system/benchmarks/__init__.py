"""How fast it is, beside something comparable in the same run. Run by hand: python -m tests.system.benchmarks."""
