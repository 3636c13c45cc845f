"""Documents as the platform serves them: a tree of blocks, or plain text.

The source of a document is a subset of Markdown: a title line, then headings (`#`), lists (`-`, `1.`, `[ ]`, `[x]`;
two spaces for each level), quotes (`>`), code between lines of three backticks, `**bold**` and `[links](https://…)`.
"""

import hashlib
import re
from collections.abc import Iterator
from urllib.parse import quote

from bot.sandbox.json_http import Json
from bot.sandbox.lark.work_data import Document

KINDS = {"page": 1, "text": 2, "bullet": 12, "ordered": 13, "code": 14, "quote": 15, "todo": 17}
KINDS |= {f"heading{level}": level + 2 for level in range(1, 10)}
"""The platform's number for each kind of block."""

LINE = re.compile(r"(?P<indent> *)(?P<mark>#{1,9} |- |\d+\. |\[[ x]\] |> )?(?P<text>.*)")
INLINE = re.compile(r"\*\*(?P<bold>.+?)\*\*|\[(?P<label>[^\]]+)\]\((?P<url>https?://[^)\s]+)\)")


def blocks_of(document: Document) -> list[Json]:
    """Return the page block and every block below it, in reading order."""
    title, *lines = document.text.splitlines() or [document.title]
    page = block(document.token, "", "page", title)
    blocks, parents = [page], [page]
    for kind, indent, text, done in parse_lines(lines):
        level = min(indent // 2, len(parents) - 1)
        digest = hashlib.sha256(f"{document.token} {len(blocks)}".encode()).hexdigest()[:20]
        child = block(f"doxcn{digest}", parents[level]["block_id"], kind, text)
        if kind == "todo":
            child[kind]["style"]["done"] = done
        parents[level].setdefault("children", []).append(child["block_id"])
        del parents[level + 1 :]
        if kind in ("bullet", "ordered", "todo"):
            parents.append(child)
        blocks.append(child)
    return blocks


def plain_text(document: Document) -> str:
    """Return the text that `raw_content` serves: one line for each block."""
    lines = []
    for each in blocks_of(document):
        kind = next(name for name in KINDS if name in each)
        lines.append("".join(element["text_run"]["content"] for element in each[kind]["elements"]))
    return "\n".join(lines) + "\n"


def parse_lines(lines: list[str]) -> Iterator[tuple[str, int, str, bool]]:
    """Yield kind, indentation, text, and whether a to-do is done."""
    code: list[str] | None = None
    for line in lines:
        if line.strip() == "```":
            if code is not None:
                yield "code", 0, "\n".join(code), False
            code = [] if code is None else None
        elif code is not None:
            code.append(line)
        elif (found := LINE.fullmatch(line)) and line.strip():
            mark = found["mark"] or ""
            yield kind_of(mark), len(found["indent"]), found["text"], mark == "[x] "


def kind_of(mark: str) -> str:
    if mark.startswith("#"):
        return f"heading{len(mark) - 1}"
    if mark[:1].isdigit():
        return "ordered"
    return {"- ": "bullet", "> ": "quote", "[ ] ": "todo", "[x] ": "todo"}.get(mark, "text")


def block(block_id: str, parent: str, kind: str, text: str) -> Json:
    body = {"style": {"align": 1}, "elements": [run(text)] if kind == "code" else list(elements(text))}
    return {"block_id": block_id, "parent_id": parent, "block_type": KINDS[kind], kind: body}


def elements(text: str) -> Iterator[Json]:
    start = 0
    for found in INLINE.finditer(text):
        if found.start() > start:
            yield run(text[start : found.start()])
        if found["bold"]:
            yield run(found["bold"], bold=True)
        else:
            yield run(found["label"], link={"url": quote(found["url"], safe="")})
        start = found.end()
    if start < len(text) or not text:
        yield run(text[start:])


def run(content: str, **style: object) -> Json:
    plain = dict.fromkeys(("bold", "inline_code", "italic", "strikethrough", "underline"), False)
    return {"text_run": {"content": content, "text_element_style": plain | style}}
