"""What the bot writes to administrators, besides their cards."""

from __future__ import annotations

from collections.abc import Iterable

from bot.core.cards import PageError
from bot.core.command_replies import Text
from bot.core.language import Words
from bot.core.messages import Reply
from bot.core.words.replies import say


def publish_a_version(scopes: Text) -> Reply:
    """Report that a scope is enabled, and the platform still refuses it."""
    return say(
        Words(en="Enabled, but still refused", zh="已开通，但仍被拒绝"),
        Words(
            en="The app has the user permission {scopes}, but the platform still refuses requests that need it. If the "
            "console shows an unpublished version, please publish it, then press “Check again” on the card.",
            zh="以下用户身份权限已开通，但平台仍然拒绝相关请求：{scopes}。如果开发者后台有未发布的版本，请发布，"
            "然后点击卡片上的“重新检查”。",
        ).format(scopes=scopes),
    )


def page_error_reported(name: str, error: PageError, commands: tuple[str, ...], finding: Words) -> Reply:
    """Report an error that a user saw on the platform's page. `finding` is what the bot has found out about it."""
    return say(
        Words(en="A user reports an error", zh="用户反馈授权页面报错"),
        Words(
            en="{person} reports that the authorization page for {commands} shows {error}.",
            zh="{person} 反馈 {commands} 的授权页面提示：{error}。",
        ).format(
            person=name,
            commands=Words(joined_with_and(commands).en, "、".join(commands)),
            error=PAGE_ERROR_TEXTS[error],
        ),
        finding,
    )


PAGE_ERROR_TEXTS = {
    PageError.SCOPE: Words(
        en="an error about a permission (20027 or 20043)", zh="权限有误（20027 或 20043）"
    ),
    PageError.REDIRECT: Words(en="an error about the redirect URL (20029)", zh="重定向 URL 有误（20029）"),
    PageError.APP: Words(
        en="that they can't use this app (20009 or 20010)", zh="无法使用此应用（20009 或 20010）"
    ),
    PageError.OTHER: Words(en="an error that they didn't name", zh="其他错误"),
}

PAGE_ERROR_CHECK = {
    PageError.APP: Words(
        en="I can't confirm this. Please check that the app is enabled and that it's available to them.",
        zh="我无法核实。请确认应用已启用，且该用户在可用范围内。",
    ),
    PageError.OTHER: Words(
        en="I can't confirm this. Please ask them what the page says.",
        zh="我无法核实。请向该用户确认页面内容。",
    ),
}


def scopes_enabled(scopes: Text) -> Words:
    return Words(
        en="I can't confirm this: the app's own list has {scopes} enabled. If the console shows an unpublished "
        "version, please publish it.",
        zh="我无法核实：应用的权限列表显示已开通{scopes}。如果开发者后台有未发布的版本，请发布。",
    ).format(scopes=scopes)


def scopes_unknown(scopes: Text) -> Words:
    return Words(
        en="I can't confirm this: the app's list of permissions can't be read. Please check that {scopes} is enabled for "
        "user identity.",
        zh="我无法核实：无法读取应用的权限列表。请确认已为用户身份开通{scopes}。",
    ).format(scopes=scopes)


def redirects_missing(urls: Iterable[str]) -> Words:
    return Words(
        en="I've checked: the app's list of redirect URLs doesn't include {urls}. Please add what's missing in the "
        "developer console, under Security Settings.",
        zh="应用的重定向 URL 列表中确实缺少 {urls}，请在开发者后台的“安全设置”中添加。",
    ).format(urls=joined_with_and(urls))


def redirects_registered(urls: Iterable[str]) -> Words:
    return Words(
        en="I can't confirm this: the app's list of redirect URLs includes {urls}.",
        zh="我无法核实：{urls} 已在应用的重定向 URL 列表中。",
    ).format(urls=joined_with_and(urls))


def redirects_unknown(urls: Iterable[str]) -> Words:
    return Words(
        en="I can't confirm this: the app's list of redirect URLs can't be read. Please check in the developer console, "
        "under Security Settings, that it includes {urls}.",
        zh="我无法核实：无法读取应用的重定向 URL 列表。请在开发者后台的“安全设置”中确认已添加 {urls}。",
    ).format(urls=joined_with_and(urls))


def joined_with_and(items: Iterable[str]) -> Words:
    parts = tuple(items)
    return Words(en=" and ".join(parts), zh=" 和 ".join(parts))
