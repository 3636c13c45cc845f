"""The content of messages: text, rich text ("post") and card JSON 2.0, validated as the platform does it.

The error for a card is always 230099; its message has the card's own `ErrCode`.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from bot.sandbox.json_http import Json
from bot.sandbox.lark.gateway import ApiError

TEXT_BYTES = 150 * 1024
RICH_BYTES = 30 * 1024
CARD_ELEMENTS = 200
CARD_TABLES = 5

LOCALES = frozenset(
    [
        "zh_cn",
        "en_us",
        "ja_jp",
        "zh_hk",
        "zh_tw",
        "id_id",
        "vi_vn",
        "th_th",
        "pt_br",
        "es_es",
        "ko_kr",
        "de_de",
        "fr_fr",
        "it_it",
        "ru_ru",
        "ms_my",
    ]
)
TEMPLATES = frozenset(
    [
        "blue",
        "wathet",
        "turquoise",
        "green",
        "yellow",
        "orange",
        "red",
        "carmine",
        "violet",
        "purple",
        "indigo",
        "grey",
        "default",
    ]
)
BUTTON_TYPES = frozenset(
    [
        "default",
        "primary",
        "danger",
        "text",
        "primary_text",
        "danger_text",
        "primary_filled",
        "danger_filled",
        "laser",
    ]
)
TEXT_SIZES = frozenset(
    [
        "heading-0",
        "heading-1",
        "heading-2",
        "heading-3",
        "heading-4",
        "heading",
        "normal",
        "notation",
        "xxxx-large",
        "xxx-large",
        "xx-large",
        "x-large",
        "large",
        "medium",
        "small",
        "x-small",
    ]
)
FLEX_MODES = frozenset(["none", "stretch", "flow", "bisect", "trisect"])
CONTAINER_PROPERTIES: dict[str, frozenset[str]] = {
    "div": frozenset({"text", "icon", "width"}),
    "column_set": frozenset(
        {"columns", "flex_mode", "horizontal_spacing", "horizontal_align", "background_style", "action"}
    ),
    "column": frozenset(
        {
            "elements",
            "width",
            "weight",
            "direction",
            "horizontal_align",
            "vertical_align",
            "padding",
            "action",
        }
        | {"horizontal_spacing", "vertical_spacing", "background_style"}
    ),
    "collapsible_panel": frozenset(
        {"elements", "header", "expanded", "direction", "border", "padding", "background_color"}
        | {"horizontal_spacing", "vertical_spacing", "horizontal_align", "vertical_align"}
    ),
}
"""The properties of each container. Schema 2.0 refuses a card with an unknown property."""
COMMON_PROPERTIES = frozenset({"tag", "element_id", "margin"})
BUTTON_SIZES = frozenset(["tiny", "small", "medium", "large"])
CARD_COMPONENTS = frozenset(
    [
        "markdown",
        "div",
        "button",
        "column_set",
        "column",
        "hr",
        "img",
        "img_combination",
        "form",
        "input",
        "select_static",
        "multi_select_static",
        "select_person",
        "multi_select_person",
        "date_picker",
        "picker_time",
        "picker_datetime",
        "overflow",
        "checker",
        "table",
        "chart",
        "person",
        "person_list",
        "collapsible_panel",
        "interactive_container",
        "select_img",
    ]
)
CARD_PARTS = frozenset(["plain_text", "lark_md", "standard_icon", "custom_icon", "text_tag", "option"])
FORM_FIELDS = frozenset(
    [
        "button",
        "input",
        "select_static",
        "multi_select_static",
        "select_person",
        "multi_select_person",
        "date_picker",
        "picker_time",
        "picker_datetime",
        "checker",
        "select_img",
    ]
)
CARD_KEYS = frozenset({"schema", "config", "card_link", "header", "body", "fallback"})
ELEMENT_ID = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,19}\Z")
URL = re.compile(r"(https?|lark|feishu)://\S+\Z")

POST_FIELDS: dict[str, tuple[str, ...]] = {
    "text": ("text",),
    "a": ("text", "href"),
    "at": ("user_id",),
    "img": ("image_key",),
    "media": ("file_key",),
    "emotion": ("emoji_type",),
    "hr": (),
    "code_block": ("text",),
    "md": ("text",),
}
"""The tags of rich text, and the strings that each requires."""


def parameter_error(message: str) -> ApiError:
    return ApiError(230001, f"Your request contains an invalid request parameter, ext={message}")


def card_error(inner: int, message: str) -> ApiError:
    return ApiError(230099, f"Failed to create card content, ext=ErrCode: {inner}; ErrMsg: {message}; ")


def unsupported_tag(tag: str) -> ApiError:
    return card_error(200861, f"cards of schema V2 no longer support this capability; unsupported tag {tag}")


def parse_content(msg_type: str, content: Any) -> Json:
    """Parse and validate the `content` string of a message. Raises ApiError."""
    if not isinstance(content, str):
        raise parameter_error("content is not a string in json format")
    allowed = TEXT_BYTES if msg_type == "text" else RICH_BYTES
    if len(content.encode()) > allowed:
        raise ApiError(230025, "The length of the message content reaches its limit.")
    try:
        parsed = json.loads(content)
    except ValueError:
        if msg_type == "interactive":
            raise card_error(
                200621, "parse card json err, please check whether the card json is correct"
            ) from None
        raise parameter_error("content is not a string in json format") from None
    if not isinstance(parsed, dict):
        raise parameter_error("content is not an object")
    match msg_type:
        case "text":
            check_text(parsed)
        case "post":
            check_post(parsed)
        case "interactive":
            check_card(parsed)
        case _:
            raise parameter_error(f"invalid msg_type: {msg_type}")
    return parsed


def check_text(content: Json) -> None:
    text = content.get("text")
    if not isinstance(text, str) or not text.strip():
        raise parameter_error("text is empty")


def check_post(content: Json) -> None:
    """Validate a post: a title and paragraphs for each language."""
    if not content or not LOCALES.issuperset(content):
        raise parameter_error("post has no or unknown languages")
    for locale, post in content.items():
        if not isinstance(post, dict) or not {"title", "content"} >= post.keys():
            raise parameter_error(f"invalid post in {locale}")
        paragraphs = post.get("content")
        if not isinstance(post.get("title", ""), str) or not isinstance(paragraphs, list) or not paragraphs:
            raise parameter_error(f"post content is empty in {locale}")
        for paragraph in paragraphs:
            check_paragraph(paragraph)


def check_paragraph(paragraph: Any) -> None:
    if not isinstance(paragraph, list):
        raise parameter_error("a post paragraph is not a list")
    for element in paragraph:
        tag = element.get("tag") if isinstance(element, dict) else None
        if tag not in POST_FIELDS:
            raise parameter_error(f"unknown post tag: {tag}")
        for name in POST_FIELDS[tag]:
            if not isinstance(element.get(name), str):
                raise parameter_error(f"post tag {tag} needs {name}")
        if tag == "a" and not URL.match(element["href"]):
            raise parameter_error("invalid href in post")
        if tag in ("md", "hr", "img", "media", "code_block") and len(paragraph) > 1:
            raise parameter_error(f"post tag {tag} must be a paragraph of its own")


# Cards


def check_card(card: Any) -> None:
    """Validate a whole card of schema 2.0. Schema 1.0 is refused, unlike by the platform: the bot never sends it."""
    if not isinstance(card, dict):
        raise card_error(200621, "card is not an object")
    if card.get("type") in ("card", "template"):
        raise card_error(200740, "card entity or template does not exist")
    if card.get("schema") != "2.0":
        raise card_error(200621, 'schema must be "2.0"')
    if unknown := card.keys() - CARD_KEYS:
        raise card_error(200621, f"unknown property: {', '.join(sorted(unknown))}")
    check_config(card.get("config", {}))
    if "header" in card:
        check_header(card["header"])
    body = card.get("body")
    elements = body.get("elements") if isinstance(body, dict) else None
    if not isinstance(elements, list):
        raise card_error(300307, "card body has no elements")
    check_body(elements)


def check_config(config: Any) -> None:
    if not isinstance(config, dict):
        raise card_error(200621, "config is not an object")
    if config.get("update_multi", True) is not True:
        raise card_error(300302, "update_multi must be true in schema 2.0")
    if not LOCALES.issuperset(config.get("locales", ())):
        raise card_error(200621, "unknown locale in config.locales")


def check_header(header: Any) -> None:
    if not isinstance(header, dict):
        raise card_error(200621, "header is not an object")
    check_text_object(header.get("title"), "header.title")
    if "subtitle" in header:
        check_text_object(header["subtitle"], "header.subtitle")
    if header.get("template", "default") not in TEMPLATES:
        raise card_error(200621, f"unknown header template: {header['template']}")


def check_body(elements: list[Any]) -> None:
    ids: set[str] = set()
    count = tables = 0
    if not all(isinstance(element, dict) and isinstance(element.get("tag"), str) for element in elements):
        raise card_error(200621, "an element is not an object with a tag")
    if not all(element["tag"] in CARD_COMPONENTS for element in elements):
        raise unsupported_tag(
            next(element["tag"] for element in elements if element["tag"] not in CARD_COMPONENTS)
        )
    for element in tagged_elements(elements):
        if element["tag"] not in CARD_COMPONENTS | CARD_PARTS:
            raise unsupported_tag(element["tag"])
        count += element["tag"] in CARD_COMPONENTS
        tables += element["tag"] == "table"
        check_element(element, ids)
    if count > CARD_ELEMENTS:
        raise card_error(300305, "card has more than 200 components")
    if tables > CARD_TABLES:
        raise card_error(11310, "card table number over limit")


def tagged_elements(node: Any) -> Iterator[Json]:
    """Yield every object with a `tag`, at any depth, except in the values that buttons send back."""
    if isinstance(node, dict):
        if isinstance(node.get("tag"), str):
            yield node
        for name, value in node.items():
            if name not in ("value", "behaviors", "rows", "chart_spec"):
                yield from tagged_elements(value)
    elif isinstance(node, list):
        for item in node:
            yield from tagged_elements(item)


def check_element(element: Json, ids: set[str]) -> None:
    element_id = element.get("element_id")
    if element_id is not None:
        if not isinstance(element_id, str) or not ELEMENT_ID.match(element_id):
            raise card_error(200621, f"invalid element_id: {element_id}")
        if element_id in ids:
            raise card_error(300301, f"element_id is duplicated: {element_id}")
        ids.add(element_id)
    known = CONTAINER_PROPERTIES.get(element["tag"])
    if known is not None and (unknown := element.keys() - known - COMMON_PROPERTIES):
        raise card_error(200621, f"unknown property of {element['tag']}: {', '.join(sorted(unknown))}")
    match element["tag"]:
        case "markdown" | "plain_text" | "lark_md":
            check_string(element, element["tag"])
        case "button":
            check_button(element)
        case "form":
            check_form(element)
        case "div":
            if "text" in element:
                check_text_object(element["text"], "div.text")
                check_style(element["text"], "div.text")
        case "column_set":
            check_columns(element)
        case "column":
            check_elements(element)
        case "collapsible_panel":
            check_elements(element)
            check_text_object(element.get("header", {}).get("title"), "collapsible_panel.header.title")


def check_style(text: Json, where: str) -> None:
    if text.get("text_size", "normal") not in TEXT_SIZES:
        raise card_error(200621, f"unknown text_size in {where}")
    if text.get("text_color", "default") not in TEMPLATES:
        raise card_error(200621, f"unknown text_color in {where}")


def check_columns(element: Json) -> None:
    columns = element.get("columns")
    if not isinstance(columns, list) or not columns:
        raise card_error(200621, "a column_set has no columns")
    if not all(isinstance(each, dict) and each.get("tag") == "column" for each in columns):
        raise card_error(200621, "a column_set takes columns only")
    if element.get("flex_mode", "none") not in FLEX_MODES:
        raise card_error(200621, f"unknown flex_mode: {element['flex_mode']}")


def check_elements(container: Json) -> None:
    """Validate the elements of a container: components, but no column outside of a column_set."""
    elements = container.get("elements")
    if not isinstance(elements, list) or not all(isinstance(each, dict) for each in elements):
        raise card_error(200621, f"{container['tag']} has no elements")
    for each in elements:
        if each.get("tag") not in CARD_COMPONENTS - {"column"}:
            raise unsupported_tag(str(each.get("tag")))


def check_text_object(text: Any, where: str) -> None:
    if not isinstance(text, dict) or text.get("tag") not in ("plain_text", "lark_md"):
        raise card_error(200621, f"{where} must be plain_text or lark_md")
    check_string(text, where)


def check_string(element: Json, where: str) -> None:
    if not isinstance(element.get("content"), str):
        raise card_error(200621, f"{where} has no content")
    translations = element.get("i18n_content", {})
    if not isinstance(translations, dict) or not LOCALES.issuperset(translations):
        raise card_error(200621, f"invalid i18n_content in {where}")
    if not all(isinstance(text, str) for text in translations.values()):
        raise card_error(200621, f"invalid i18n_content in {where}")


def check_button(button: Json) -> None:
    if "text" in button:
        check_text_object(button["text"], "button.text")
    elif "icon" not in button:
        raise card_error(200621, "a button needs text or an icon")
    if button.get("type", "default") not in BUTTON_TYPES:
        raise card_error(200621, f"unknown button type: {button['type']}")
    if button.get("size", "medium") not in BUTTON_SIZES:
        raise card_error(200621, f"unknown button size: {button['size']}")
    behaviors = button.get("behaviors", [])
    if not isinstance(behaviors, list):
        raise card_error(200621, "behaviors is not a list")
    kinds = [behavior.get("type") if isinstance(behavior, dict) else None for behavior in behaviors]
    if len(set(kinds)) != len(kinds) or not {"open_url", "callback", "form_action"}.issuperset(kinds):
        raise card_error(200621, "invalid button behaviors")
    for behavior in behaviors:
        check_behavior(behavior)


def check_behavior(behavior: Json) -> None:
    if behavior["type"] == "callback" and not isinstance(behavior.get("value"), dict):
        # A string is documented too, but the SDK's data class rejects it and the client shows 200671.
        raise card_error(200621, "a callback's value must be an object")
    if behavior["type"] == "open_url":
        urls = [behavior.get(name) for name in ("default_url", "pc_url", "ios_url", "android_url")]
        given = [url for url in urls if url]
        if not behavior.get("default_url") and len(given) < 3:
            raise card_error(200621, "open_url needs default_url")
        if not all(isinstance(url, str) and URL.match(url) for url in given):
            raise card_error(200621, "invalid url in open_url")


def check_form(form: Json) -> None:
    """Validate that a form and its fields and buttons have names (200530)."""
    if not form.get("name"):
        raise card_error(200530, "form has no name")
    for element in tagged_elements(form.get("elements", [])):
        if element["tag"] in FORM_FIELDS and not element.get("name"):
            raise card_error(200530, f"{element['tag']} in a form has no name")


def find_button(card: Json, *, element_id: str | None, value: Any) -> Json | None:
    """Return the callback button with this element_id or, without one, the button that sends this value."""
    for element in tagged_elements(card.get("body", {})):
        if element["tag"] != "button" or element.get("disabled"):
            continue
        sent = callback_value(element)
        if sent is not None and (element.get("element_id") == element_id if element_id else sent == value):
            return element
    return None


def callback_value(button: Json) -> Json | None:
    """Return the value that a click on the button sends; None if it has no callback."""
    for behavior in button.get("behaviors", []):
        if behavior.get("type") == "callback":
            value: Json = behavior["value"]
            return value
    legacy = button.get("value")
    return legacy if isinstance(legacy, dict) else None
