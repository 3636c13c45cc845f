"""`/calendar` shows which calendar is the user's primary one. A complete command from another package."""

from bot.commands import ApiCall, ApiRefused, Ask, Reply, Steps, Words, any_of, command, one_line, paragraph
from bot.lark.sdk_requests import from_sdk_request, typed


@command(
    "calendar",
    summary=Words("which calendar is yours", "查看你的主日历"),
    # Preferred first; the bot asks for the first one that the app has enabled.
    needs=any_of("calendar:calendar:read", "calendar:calendar:readonly"),
)
def calendar(ask: Ask) -> Steps:
    try:
        # Each step is yielded. Its result may arrive hours later, when the user has authorized.
        answer = yield primary_calendar()
    except ApiRefused:
        return Reply(Words("The platform does not say", "平台没有提供日历信息"))
    name = one_line(answer["data"]["calendars"][0]["calendar"]["summary"], 100)
    words = Words("Your calendar is called {name}.", "你的主日历是“{name}”。").format(name=name)
    return Reply(Words("Your calendar", "你的日历"), (paragraph(words),))


def primary_calendar() -> ApiCall:
    """Build the call with lark-oapi's typed request. It is a POST, but it only reads."""
    request = typed("calendar.v4").PrimaryCalendarRequest.builder().user_id_type("open_id").build()
    return from_sdk_request(request, read=True)
