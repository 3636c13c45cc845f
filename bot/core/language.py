"""Text in every language that the bot speaks."""

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
        """Return the text in one language."""
        return self.zh if language == "zh" else self.en

    def format(self, **values: object) -> Words:
        """Replace `{name}` in every language. A value of type Words is inserted in the language of the text."""
        return Words(
            self.en.format(**{k: v.en if isinstance(v, Words) else v for k, v in values.items()}),
            self.zh.format(**{k: v.zh if isinstance(v, Words) else v for k, v in values.items()}),
        )

    def __add__(self, other: Words) -> Words:
        return Words(self.en + other.en, self.zh + other.zh)

    def strip(self) -> Words:
        return Words(self.en.strip(), self.zh.strip())


def is_chinese(text: str | None) -> bool:
    """Return whether a text has Chinese characters."""
    return text is not None and any("\u4e00" <= character <= "\u9fff" for character in text)
