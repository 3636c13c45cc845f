"""Finds the document that a user asks for: by a link, or by a token."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from bot.core.language import Words
from bot.core.messages import Line, Span
from bot.core.response_fields import TOKEN, token
from bot.lark.platform_links import PLATFORM_LINKS

DOCUMENT_KINDS: Mapping[str, Words] = {
    "doc": Words("Old-format document", "旧版文档"),
    "docx": Words("Document", "文档"),
    "sheet": Words("Spreadsheet", "电子表格"),
    "bitable": Words("Base", "多维表格"),
    "mindnote": Words("MindNote", "思维笔记"),
    "slides": Words("Slides", "幻灯片"),
    "file": Words("File", "文件"),
    "folder": Words("Folder", "文件夹"),
    "wiki": Words("Wiki page", "知识库页面"),
    "catalog": Words("Wiki folder", "知识库目录"),
    "shortcut": Words("Shortcut", "快捷方式"),
    "minutes": Words("Minutes", "妙记"),
}

UNKNOWN_KIND = Words("File", "文件")

PATHS = {
    "docx": "docx",
    "wiki": "wiki",
    "docs": "doc",
    "doc": "doc",
    "sheets": "sheet",
    "sheet": "sheet",
    "base": "bitable",
    "mindnotes": "mindnote",
    "slides": "slides",
    "file": "file",
    "minutes": "minutes",
}
"""Kind of document by the first segment of a link's path."""

OLD_TOKEN = re.compile(r"(dox|wik|doc|sht|bas|bmn|sld|box|fld)[a-z]{2}[A-Za-z0-9]{15,}")
"""Older tokens have a prefix for the kind of document; newer ones do not."""

OLD_TOKENS = {
    "dox": "docx",
    "wik": "wiki",
    "doc": "doc",
    "sht": "sheet",
    "bas": "bitable",
    "bmn": "mindnote",
    "sld": "slides",
    "box": "file",
    "fld": "folder",
}

_LINK_CHARACTER = r"[!#$%&*+,\-./0-9:;=?@A-Z_a-z~]"
"""Characters of a link. Any other character ends it: brackets, quotes, and all non-ASCII characters."""

LINK = re.compile(
    rf"https?://[^\s/<>()\[\]\"'`]{{1,255}}/{_LINK_CHARACTER}*"
    # A link without a scheme, or only a path.
    rf"|(?<![A-Za-z0-9_./@:-])(?:[a-z0-9-]+(?:\.[a-z0-9-]+)+/|/?(?=(?:{'|'.join(PATHS)})/)){_LINK_CHARACTER}+",
    re.IGNORECASE,
)

MARKDOWN_LINK_URL = re.compile(r"\[[^\[\]]*\]\(([^()\s]+)\)")
"""Matches a Markdown link, whose URL is used."""

WRITTEN_TOKEN = re.compile(r"(?<![A-Za-z0-9_@.-])[A-Za-z0-9_-]{20,200}(?![A-Za-z0-9_-])")
"""Matches a possible token within text, which in Chinese may have no spaces around it. Tokens contain digits, and words
do not."""

AROUND = "\"'`*<>()[]{}.,:;!?‘’“”《》〈〉「」『』【】（）＜＞，。、：；！？…"
"""Punctuation around a token."""


@dataclass(frozen=True, slots=True)
class RequestedDocument:
    """The document that a user asks for."""

    kind: str
    token: str
    url: str | None
    """Where to open it: the user's link if it is trusted, else a path at the platform. None if only a token was given."""

    @property
    def address(self) -> str:
        return self.url if self.url and not self.url.startswith("/") else self.token

    @property
    def mention(self) -> Line:
        return (Span(self.address, url=self.url),)


def requested_document(arguments: str) -> RequestedDocument | None:
    """Return the document of the first link in the arguments, else of the first possible token."""
    written = unicodedata.normalize("NFKC", MARKDOWN_LINK_URL.sub(r" \1 ", arguments.replace("\uff0c", " ")))
    for found in LINK.finditer(written):
        if named := document_of_link(found[0]):
            return named
    words = [written.strip().strip(AROUND).strip(), *filter(has_digit, WRITTEN_TOKEN.findall(written))]
    word = next((each for each in words if token(each)), None)
    if word is None:
        return None
    old = OLD_TOKEN.fullmatch(word)
    return RequestedDocument(OLD_TOKENS[old[1]] if old else "docx", word, None)


def has_digit(word: str) -> bool:
    return any(map(str.isdigit, word))


def document_of_link(written: str) -> RequestedDocument | None:
    """Return the document of a link, or None. If its host is not trusted, only the token is used."""
    scheme, found, rest = written.partition("://")
    url = f"{scheme.lower()}://{rest}" if found else f"https://{written}".replace("https:///", "/")
    if url.removeprefix("https://").partition("/")[0].lower() in PATHS:
        url = "/" + written
    try:
        path = unquote(urlsplit(url).path)
    except ValueError:
        return None
    parts = [part for part in path.split("/") if part]
    if len(parts) < 2 or parts[0].lower() not in PATHS:
        return None
    area, named = parts[0].lower(), TOKEN.match(parts[1])
    if named is None:
        return None
    whole = url.rstrip(".,;:!?*")
    # A longer path (`/docx/TOKEN/../OTHER`) may open another document than the one whose text is shown.
    if urlsplit(whole).path.rstrip("/") != f"/{parts[0]}/{named[0]}":
        whole = ""
    return RequestedDocument(PATHS[area], named[0], PLATFORM_LINKS.resolve(whole) or f"/{area}/{named[0]}")
