"""What the bot costs, always beside a reference that was measured in the same run: `python -m tests.benchmarks`."""
