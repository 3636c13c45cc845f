"""The core: the data, rules and words of the bot. Pure: no I/O, no clock, no randomness, no logging."""
