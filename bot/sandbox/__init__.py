"""A stand-in for the Lark platform, over real HTTP: what the tests and the chat page run the bot against."""
