"""Text in every language of the bot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Language = Literal["en", "zh"]


@dataclass(frozen=True, slots=True)
class Words:
    """One text in every language of the bot."""

    en: str
    zh: str

    def to(self, language: Language) -> str:
        return self.zh if language == "zh" else self.en

    def format(self, **values: object) -> Words:
        """Replace `{name}` in every language. A value that is Words itself is inserted by language."""
        return Words(
            self.en.format(**{k: v.en if isinstance(v, Words) else v for k, v in values.items()}),
            self.zh.format(**{k: v.zh if isinstance(v, Words) else v for k, v in values.items()}),
        )

    def __add__(self, more: Words) -> Words:
        return Words(self.en + more.en, self.zh + more.zh)

    def strip(self) -> Words:
        return Words(self.en.strip(), self.zh.strip())
