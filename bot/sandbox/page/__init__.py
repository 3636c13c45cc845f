"""The chat page: its files, its API and its guard. It knows an emulator only by `bot.sandbox.platform`."""
