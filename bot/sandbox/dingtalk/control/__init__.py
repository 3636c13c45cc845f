"""The control API under /sandbox/api: what people, administrators and the network do to the emulated organization."""
