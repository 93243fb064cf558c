"""The engine's pass over a decoder as one compiled function, for CPUs."""
