"""Links in what the bot says lead to the platform or to the bot, whatever people write into messages and events."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from bot.sandbox.lark.sample_work_data import WELCOME
from bot.sandbox.lark.tenant import Message

from .card_content import text_of
from .world import World


def links_in(content: Any) -> list[str]:
    """Every address that a client would open."""
    if isinstance(content, list):
        return [link for each in content for link in links_in(each)]
    if not isinstance(content, dict):
        return []
    own = [content[name] for name in ("href", "default_url", "url") if name in content]
    return own + [link for each in content.values() for link in links_in(each)]


def shown(message: Message) -> set[str]:
    return set(links_in(message.content))


async def test_a_document_is_never_linked_where_somebody_says_it_is(world: World):
    await world.start()
    first = f"/doc https://tenant.feishu.cn/docx/{WELCOME}"
    asked = await world.say(world.sam, first)
    await world.consent(world.sam, await world.fresh_card(world.sam, asked))
    assert shown(await world.answer_to(asked, "Welcome")) == {f"https://tenant.feishu.cn/docx/{WELCOME}"}
    ours = f"{world.origin}/docx/{WELCOME}"
    for place in (
        "https://elsewhere.example", "https://evil-feishu.cn", "https://feishu.cn.evil.example",
        "https://feishu.cn@evil.example", "https://x:y@tenant.feishu.cn", "https://tenant.feishu.cn:8443",
        "https://tenant.feishu.cn.", "https://fe\u0456shu.cn", "http://tenant.feishu.cn", "http://127.0.0.1:1",
        world.origin,
    ):  # fmt: skip
        asked = await world.say(world.sam, f"/doc {place}/docx/{WELCOME}", world.group)
        answer = await world.answer_to(asked, "You are reading a document")
        assert shown(answer) == {ours}, place
    # Where there is nothing to read, neither the link nor its text is repeated.
    asked = await world.say(world.sam, "/doc https://elsewhere.example/docx/doxcnNobodyKnowsThis")
    answer = await world.answer_to(asked, "Document not found")
    assert shown(answer) == {f"{world.origin}/docx/doxcnNobodyKnowsThis"}
    asked = await world.say(world.sam, "/doc https://elsewhere.example/sheets/shtcnX")
    answer = await world.answer_to(asked, "Only documents can be read")
    assert shown(answer) == {f"{world.origin}/sheets/shtcnX"}
    assert "elsewhere" not in "".join(text_of(m.content) for m in world.from_bot(world.direct(world.sam)))


async def test_a_link_that_leads_past_its_document_is_not_shown_under_the_documents_title(world: World):
    await world.start()
    await world.authorized(world.sam, f"/doc {WELCOME}")
    for place in ("tenant.feishu.cn", "evil.larksuite.com", "x.larkoffice.com"):
        for onward in (
            "/../Other1Other2Other3",
            "/%2e%2e/Other",
            "/%252e%252e/Other",
            "%2F..%2FOther",
            "/./x",
            "/Other",
        ):
            said = f"/doc https://{place}/docx/{WELCOME}{onward}"
            answer = await world.answer_to(await world.say(world.sam, said, world.group), "Welcome")
            assert shown(answer) == {f"{world.origin}/docx/{WELCOME}"}, said
        for harmless in ("", "/", "?from=space", "#part", "/?x=1#part"):
            said = f"/doc https://{place}/docx/{WELCOME}{harmless}"
            answer = await world.answer_to(await world.say(world.sam, said, world.group), "Welcome")
            assert shown(answer) == {f"https://{place}/docx/{WELCOME}{harmless}"}, said


async def test_a_meeting_elsewhere_is_text_and_names_its_host(world: World):
    await world.start()
    calendar = next(c for c, owner in world.tenant.work.calendars.items() if owner == world.sam.open_id)
    event = world.tenant.work.events[calendar][0]
    today = datetime.now(UTC).date()
    around = {
        f"{end}_time": {"date": str(today + timedelta(days=days))}
        for end, days in (("start", -3), ("end", 3))
    }
    world.tenant.work.events[calendar] = [event := event | around]
    asked = await world.say(world.sam, "/agenda")
    await world.consent(world.sam, await world.fresh_card(world.sam, asked))
    await world.answer_to(asked)
    for meeting, link, said in (
        ("https://vc.feishu.cn/j/1", "https://vc.feishu.cn/j/1", "Join"),
        (f"{world.origin}/j/1", f"{world.origin}/j/1", "Join"),
        ("https://zoom.us/j/1?pwd=x", None, "Join (zoom.us)"),
        ("https://vc.feishu.cn@evil.example/j/1", None, "Join (evil.example)"),
        ("https://vc.feishu.cn.evil.example/", None, "Join (vc.feishu.cn.evil.example)"),
        ("https://applink.feishu.cn/client/web_url/open?url=https%3A%2F%2Fevil.example", None, "Join"),
    ):
        event |= {"vchat": {"meeting_url": meeting}, "app_link": meeting}
        answer = await world.answer_to(await world.say(world.sam, "/agenda"), said)
        assert shown(answer) == ({link} if link else set()), meeting


async def test_tasks_and_search_results_link_to_the_platform_alone(world: World):
    await world.start()
    for task in world.tenant.work.tasks:
        task["url"] = "https://evil-feishu.cn/t/1"
    await world.authorized(world.sam, "/tasks")
    assert shown(await world.answer_to(await world.say(world.sam, "/tasks"), "open tasks")) == set()
    await world.authorized(world.sam, "/search launch")
    found = await world.answer_to(await world.say(world.sam, "/search launch"), "Results for")
    assert shown(found)
    assert all(link.startswith("https://corp.feishu.cn/") for link in shown(found))


async def test_the_bots_own_page_is_still_a_link(world: World):
    await world.start()
    page = await world.answer_to(await world.say(world.sam, "/help"), "My permissions")
    (link,) = shown(page)
    assert link.startswith(f"{world.origin}/client/web_url/open?")
