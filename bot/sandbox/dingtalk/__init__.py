"""The emulator of DingTalk: its API hosts, login page, in-client JavaScript, stream gateway and control API."""
