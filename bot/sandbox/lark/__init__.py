"""The emulator of Lark: OpenAPI, OAuth, long connection, consent pages, client SDK, and a control API for tests."""
