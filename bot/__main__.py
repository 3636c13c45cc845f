"""`python -m bot` is the same as the console script `bot`."""

from bot.cli import main

raise SystemExit(main())
