"""The emulated APIs, one module for each area."""
