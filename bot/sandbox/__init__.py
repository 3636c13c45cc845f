"""Emulators of chat platforms over real HTTP, and a chat page to try the bot in. They share no code with the bot."""
