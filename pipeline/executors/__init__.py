"""Executors: where map tasks run. `base` says what every one of them offers."""
