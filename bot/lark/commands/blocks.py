"""Renders the blocks of a document as lines of a reply, with headings, lists, quotes, code and links."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import unquote

from bot.core.api import Json
from bot.core.language import Words
from bot.core.messages import Code, Line, Span
from bot.core.response_fields import MAX_TEXT_LENGTH, child, items, line, link, mapping, number, text
from bot.core.unseen_characters import one_line, tidy

Block = Mapping[str, Json]

HEADINGS = tuple(f"heading{level}" for level in range(1, 10))
TEXTS = ("text", *HEADINGS, "bullet", "ordered", "todo", "quote", "equation")
"""Fields that can contain the text of a block."""

LISTS = frozenset({"bullet", "ordered", "todo"})

PLACEHOLDERS: Mapping[str, Words] = {
    "image": Words("[image]", "[图片]"),
    "file": Words("[file]", "[文件]"),
    "sheet": Words("[spreadsheet]", "[电子表格]"),
    "bitable": Words("[Base]", "[多维表格]"),
    "mindnote": Words("[MindNote]", "[思维笔记]"),
    "diagram": Words("[diagram]", "[流程图]"),
    "board": Words("[board]", "[画板]"),
    "iframe": Words("[embedded page]", "[内嵌网页]"),
}
"""Shown in place of a block without text."""

MAX_DEPTH = 12
"""Levels of nested blocks that are read."""

INDENT = "\u2003"
"""An em space per level of a list. Chats drop ordinary spaces."""


def title_of(blocks: Sequence[Block]) -> str:
    """Return the document's title, which is the text of its page block."""
    return one_line(plain(child(page_of(blocks), "page")))


def lines_of(blocks: Sequence[Block]) -> list[Line]:
    """Return the lines of the blocks in reading order. Children that are not among the blocks are left out."""
    known = {block_id: block for block in blocks if (block_id := text(block, "block_id"))}
    page = page_of(blocks)
    return list(Reader(known).below(page, depth=0, level=0))


def page_of(blocks: Sequence[Block]) -> Block:
    return next((block for block in blocks if "page" in block), {})


class Reader:
    """Walks the tree of blocks, visiting each block once."""

    def __init__(self, known: Mapping[str, Block]) -> None:
        self.known = known
        self.seen: set[str] = set()

    def below(self, block: Block, *, depth: int, level: int, before: str = "") -> Iterator[Line]:
        """Yield the lines of a block's children. `level` counts the enclosing lists; `before` is a quotation's prefix."""
        count = 0
        for each in self.children(block) if depth < MAX_DEPTH else ():
            count = number_in_list(each, count)
            kind = next((name for name in TEXTS if name in each), None)
            if kind is not None:
                spans = tuple(spans_of(child(each, kind)))
                mark = before + INDENT * level + mark_of(kind, each, count)
                if spans:
                    yield marked(mark, spans, heading=kind in HEADINGS)
            elif "code" in each:
                yield Code(plain(child(each, "code")), "")
            elif "table" in each:
                yield from self.rows(child(each, "table"), before)
                continue
            elif "divider" in each:
                yield (Span("———"),)
            else:
                yield from ((Span(words),) for name, words in PLACEHOLDERS.items() if name in each)
            inner = f"{before}│ " if "quote_container" in each else before
            yield from self.below(each, depth=depth + 1, level=level + (kind in LISTS), before=inner)

    def children(self, block: Block) -> Iterator[Block]:
        return self.named(block.get("children"))

    def named(self, ids: Json) -> Iterator[Block]:
        for block_id in ids if isinstance(ids, list) else ():
            if isinstance(block_id, str) and block_id in self.known and block_id not in self.seen:
                self.seen.add(block_id)
                yield self.known[block_id]

    def rows(self, table: Mapping[str, Json], before: str) -> Iterator[Line]:
        """Yield a line for each row of a table."""
        columns = number(child(table, "property").get("column_size")) or 1
        cells = [list(self.cell(each)) for each in self.named(table.get("cells"))]
        for start in range(0, len(cells), max(1, columns)):
            row: list[Span] = [Span(before)] if before else []
            for position, cell in enumerate(cells[start : start + columns]):
                row += [Span(" | "), *cell] if position else cell
            yield tuple(row)

    def cell(self, block: Block) -> Iterator[Span]:
        for place, each in enumerate(self.below(block, depth=MAX_DEPTH - 1, level=0)):
            if place:
                yield Span(" ")
            yield from (Span(" ".join(each.text.split())),) if isinstance(each, Code) else each


def number_in_list(block: Block, before: int) -> int:
    """Return the number of an entry of a numbered list, which continues from the previous entry."""
    if "ordered" not in block:
        return 0
    return number(child(block, "ordered", "style").get("sequence")) or before + 1


def mark_of(kind: str, block: Block, count: int) -> str:
    match kind:
        case "bullet":
            return "• "
        case "ordered":
            return f"{count}. "
        case "todo":
            return "☑ " if child(block, "todo", "style").get("done") is True else "☐ "
        case "quote":
            return "│ "
        case _:
            return ""


def marked(mark: str, spans: tuple[Span, ...], *, heading: bool) -> Line:
    shown = tuple(Span(span.text, True, span.url) for span in spans) if heading else spans
    return (Span(mark), *shown) if mark else shown


def plain(of: Mapping[str, Json]) -> str:
    """Return a block's text without links and styles, with its line breaks."""
    runs = (child(each, "text_run") for each in items(of, "elements"))
    return tidy(
        "".join(content for run in runs if isinstance(content := run.get("content"), str))[:MAX_TEXT_LENGTH]
    )


def spans_of(of: Mapping[str, Json]) -> Iterator[Span]:
    """Yield the pieces of a block's text. Elements without text are left out."""
    for element in items(of, "elements"):
        run = child(element, "text_run") or child(element, "equation")
        content = run.get("content")
        if isinstance(content, str) and content:
            style = child(run, "text_element_style")
            shown = tidy(content[:MAX_TEXT_LENGTH]).replace("\n", " ")
            yield Span(shown, style.get("bold") is True, decoded(child(style, "link").get("url")))
        elif "mention_user" in element:
            yield Span(Words("@someone", "@某人"))
        else:
            for name in ("mention_doc", "link_preview"):
                about = mapping(element.get(name))
                if title := line(about, "title"):
                    yield Span(title, url=decoded(about.get("url")))


def decoded(url: Json) -> str | None:
    """Return a URL of the platform, which is percent-encoded; None if it is not usable."""
    return link(unquote(url)) if isinstance(url, str) else None
