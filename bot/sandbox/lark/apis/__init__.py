"""The OpenAPIs of the emulator, one module for each area."""
