"""The text of the console: what operators read about the bot in a browser."""

from __future__ import annotations

from collections.abc import Mapping

from bot.core.calls import CallStatus, WaitsFor
from bot.core.grants import GrantStatus
from bot.core.language import Words
from bot.core.requests import RequestStatus
from bot.core.words.pages import PageWords

CONSOLE = Words(en="Console", zh="控制台")

# --- getting in ----------------------------------------------------------------------------------------

SIGN_IN_NEEDED = PageWords(
    CONSOLE,
    Words(
        en="Sign in with the account you use in the chat. Only administrators of the app can open the console.",
        zh="请使用你的聊天账号登录。仅应用管理员可以打开控制台。",
    ),
)
SESSION_ENDED = PageWords(
    Words(en="You've been signed out", zh="登录已结束"),
    Words(
        en="Your session ended, so nothing was changed. Sign in again to continue.",
        zh="登录已失效，未做任何更改。请重新登录后继续。",
    ),
)
NOT_AN_ADMINISTRATOR = PageWords(
    Words(en="For administrators only", zh="仅限管理员"),
    Words(
        en="Your account isn't an administrator of this app. If it should be, ask the bot's operator to add it.",
        zh="你的账号不是此应用的管理员。如需访问，请联系机器人的运维人员添加。",
    ),
)
NOT_FOUND = PageWords(
    Words(en="Nothing here", zh="没有找到"),
    Words(
        en="It may have been deleted since, or it belongs to another app.",
        zh="记录可能已被删除，或属于其他应用。",
    ),
)
TO_THE_OVERVIEW = Words(en="To the overview", zh="返回概览")

# --- navigation ----------------------------------------------------------------------------------------

OVERVIEW = Words(en="Overview", zh="概览")
PEOPLE = Words(en="People", zh="用户")
REQUESTS = Words(en="Requests", zh="授权请求")
CALLS = Words(en="Calls", zh="命令")
ERRORS = Words(en="Errors", zh="错误")
ADMINISTRATORS = Words(en="Scopes to enable", zh="待开通权限")
SIGNED_IN_AS = Words(en="Signed in as {name}", zh="当前账号：{name}")
NAVIGATION = Words(en="Pages of the console", zh="控制台页面")
SKIP = Words(en="Skip to the content", zh="跳到正文")

OLDER = Words(en="Older", zh="更早")
NEWEST = Words(en="Newest", zh="最新")
LOOK_FURTHER = Words(en="Look further back", zh="继续向前查找")
NOT_COMPLETE = Words(
    en="The {number} entries before this point have been searched. There are older ones.",
    zh="已查找此前的 {number} 条记录，还有更早的记录。",
)
ALL = Words(en="All", zh="全部")
SHOW_ALL = Words(en="Show all", zh="查看全部")
TIMES_IN_ZONE = Words(en="Times in {zone}.", zh="时间均为 {zone} 时间。")
AS_OF = Words(
    en="As of {time}, refreshed every {seconds} seconds.", zh="数据截至 {time}，每 {seconds} 秒更新。"
)
AT_LEAST = Words(en="{number}+", zh="{number}+")
SAMPLE = Words(en="The latest {number}", zh="最近 {number} 条")
NONE = Words(en="none", zh="无")
UNKNOWN_NAME = Words(en="Name not known", zh="姓名未知")
AND_MORE = Words(en="and {number} more", zh="另有 {number} 项")

# --- times ---------------------------------------------------------------------------------------------

NEVER = Words(en="never", zh="从未")
JUST_NOW = Words(en="just now", zh="刚刚")
AGO = Words(en="{time} ago", zh="{time}前")
AHEAD = Words(en="in {time}", zh="{time}后")
MILLISECONDS = Words(en="{number} ms", zh="{number} 毫秒")


def duration(seconds: float) -> Words:
    """Return a length of time with its two largest units at most: `2 h 10 min`."""
    if seconds < 1:
        return Words("<1 s", "不到 1 秒")
    whole = int(seconds)
    if whole < 60:
        return Words(f"{whole} s", f"{whole} 秒")
    minutes, seconds_left = divmod(whole, 60)
    if minutes < 60:
        return _units((minutes, "min", "分钟"), (seconds_left if minutes < 10 else 0, "s", "秒"))
    hours, minutes_left = divmod(minutes, 60)
    if hours < 24:
        return _units((hours, "h", "小时"), (minutes_left if hours < 10 else 0, "min", "分钟"))
    days, hours_left = divmod(hours, 24)
    return _units((days, "d", "天"), (hours_left if days < 10 else 0, "h", "小时"))


def _units(*parts: tuple[int, str, str]) -> Words:
    some = [each for each in parts if each[0]]
    return Words(
        " ".join(f"{number} {en}" for number, en, _ in some),
        " ".join(f"{number} {zh}" for number, _, zh in some),
    )


# --- the overview --------------------------------------------------------------------------------------

KNOWN_PEOPLE = Words(en="People", zh="用户")
GRANTS_IN_USE = Words(en="Grants in force", zh="有效授权")
OF_EXAMINED = Words(en="of the first {number} grants", zh="取前 {number} 个授权统计")
WAITING_FOR_PEOPLE = Words(en="Waiting for consent", zh="等待用户授权")
WAITING_FOR_ADMINISTRATORS = Words(en="Waiting for administrators", zh="等待管理员")
MEDIAN_CONSENT = Words(en="Median time to consent", zh="授权用时中位数")
ERRORS_THIS_WEEK = Words(en="Platform errors, 7 days", zh="近 7 天平台错误")
OLDEST_SINCE = Words(en="oldest {time}", zh="最早 {time}")

FUNNEL = Words(en="From request to answer", zh="从请求到答复")
FUNNEL_OF = Words(en="{number} requests of the last 30 days", zh="近 30 天的 {number} 个授权请求")
FUNNEL_OF_LATEST = Words(
    en="The latest {number} requests of the last 30 days", zh="近 30 天内最近的 {number} 个授权请求"
)
STAGE = Words(en="Stage", zh="阶段")
NUMBER = Words(en="Number", zh="数量")
SHARE = Words(en="Share", zh="占比")
STAGES: Mapping[str, Words] = {
    "asked_at": Words(en="Asked", zh="发起请求"),
    "shown_at": Words(en="Card shown", zh="已显示卡片"),
    "opened_at": Words(en="Link opened", zh="已打开链接"),
    "returned_at": Words(en="Came back", zh="已返回"),
    "granted_at": Words(en="Authorized", zh="已授权"),
    "resumed_at": Words(en="Call resumed", zh="命令继续"),
    "answered_at": Words(en="Answered", zh="已答复"),
}
REQUEST_OUTCOMES: Mapping[str, Words] = {
    "waiting": Words(en="Waiting", zh="等待中"),
    "granted": Words(en="Authorized", zh="已授权"),
    "partly_granted": Words(en="Partly authorized", zh="部分授权"),
    "declined": Words(en="Declined", zh="已拒绝"),
    "expired": Words(en="Expired", zh="已过期"),
    "waits_for_administrator": Words(en="Waiting for administrators", zh="等待管理员"),
    "failed": Words(en="Failed", zh="失败"),
    "superseded": Words(en="Replaced by a newer card", zh="已被新卡片取代"),
}

TIME_TO_CONSENT = Words(en="Time to consent", zh="授权用时")
TIME_TO_CONSENT_OF = Words(en="Median {median} · 90% within {ninth}", zh="中位数 {median} · 90% 在 {ninth}内")
BUCKETS = (
    (10, Words(en="<10 s", zh="<10 秒")),
    (30, Words(en="<30 s", zh="<30 秒")),
    (120, Words(en="<2 min", zh="<2 分")),
    (600, Words(en="<10 min", zh="<10 分")),
    (3600, Words(en="<1 h", zh="<1 时")),
    (6 * 3600, Words(en="<6 h", zh="<6 时")),
    (24 * 3600, Words(en="<1 d", zh="<1 天")),
    (None, Words(en="longer", zh="更久")),
)
"""Upper limits in seconds."""
CONSENTS = Words(en="Consents", zh="授权数")
NO_CONSENTS = Words(en="No one authorized anything in this period.", zh="此期间没有人授权。")
NO_REQUESTS_YET = Words(
    en="The bot has not asked for any authorization in the last 30 days.", zh="近 30 天没有发起授权请求。"
)

OUTCOMES = Words(en="How calls ended", zh="命令结果")
OUTCOMES_OF = Words(en="Last 14 days, by day", zh="近 14 天，按天")
OUTCOMES_CAPPED = Words(
    en="Only the first {number} calls of a day are counted.", zh="每天仅统计前 {number} 条命令。"
)
NO_OUTCOMES = Words(en="No call has ended in the last 14 days.", zh="近 14 天没有命令结束。")
DAY = Words(en="Day", zh="日期")
TOTAL = Words(en="Total", zh="合计")
AS_TABLE = Words(en="Show the numbers", zh="查看数据")
CHART_OF_OUTCOMES = Words(
    en="Column chart: calls that ended on each of the last 14 days, by outcome. The numbers follow in a table.",
    zh="柱状图：近 14 天每天结束的命令，按结果分类。具体数据见下表。",
)
CHART_OF_CONSENTS = Words(
    en="Column chart: how long it took people to authorize. The numbers follow in a table.",
    zh="柱状图：用户授权用时分布。具体数据见下表。",
)
TIME = Words(en="Time", zh="用时")

WAITING = Words(en="What waits", zh="等待中")
WAITING_KINDS: Mapping[WaitsFor, Words] = {
    WaitsFor.AUTHORIZATION: Words(en="for the user's consent", zh="等待用户授权"),
    WaitsFor.ADMINISTRATOR: Words(en="for an administrator", zh="等待管理员开通"),
    WaitsFor.CONFIRMATION: Words(en="for the user's confirmation", zh="等待用户确认"),
}
QUEUED = Words(en="Calls in the queue", zh="排队中的命令")
RUNNING = Words(en="Calls running", zh="执行中的命令")
UNSENT = Words(en="Messages to send", zh="待发送消息")
REVOCATIONS = Words(en="Revocations to confirm", zh="待平台确认的撤销")
SCOPE_SETS = Words(en="Scope sets to enable", zh="待开通的权限组")
CALLS_WAITING = Words(en="Calls {what}", zh="命令{what}")
OLDEST = Words(en="Oldest", zh="最早")
WHAT = Words(en="What", zh="项目")

SCOPES = Words(en="Grants by scope", zh="各权限的授权数")
SCOPES_OF = Words(en="{number} grants in force", zh="{number} 个有效授权")
SCOPE = Words(en="Scope", zh="权限")
GRANTS = Words(en="Grants", zh="授权数")
NO_GRANTS = Words(en="No grant is in force.", zh="没有有效授权。")

PLATFORM_ERRORS = Words(en="Errors of the platform", zh="平台错误")
PLATFORM_ERRORS_OF = Words(
    en="Calls in a user's name that failed, last 7 days", zh="近 7 天以用户身份调用失败"
)
FAILED_COMMANDS = Words(en="Commands that failed", zh="失败的命令")
FAILED_COMMANDS_OF = Words(en="Last 7 days, by reason", zh="近 7 天，按原因")
NO_ERRORS = Words(en="No errors in the last 7 days.", zh="近 7 天没有错误。")
NO_FAILED_COMMANDS = Words(en="No command failed in the last 7 days.", zh="近 7 天没有失败的命令。")
ENDPOINT = Words(en="Endpoint", zh="接口")
REASON = Words(en="Reason", zh="原因")
LATEST = Words(en="Latest", zh="最近")
EXAMINED_ERRORS = Words(en="Counted among the latest {number}.", zh="统计最近 {number} 条。")

# --- people --------------------------------------------------------------------------------------------

SEARCH_FOR = Words(
    en="Name, user ID, or the ID of a message, call, request or log entry",
    zh="姓名、用户 ID，或消息、命令、授权请求、日志的 ID",
)
SEARCH = Words(en="Search", zh="搜索")
CLEAR = Words(en="Clear", zh="清除")
NO_PEOPLE = Words(en="No one has used the bot yet.", zh="还没有人使用机器人。")
NO_MATCH = Words(en="No one matches “{text}”, and no ID is the same.", zh="没有与“{text}”匹配的用户或 ID。")
NO_MATCH_YET = Words(en="No match for “{text}” so far.", zh="目前没有与“{text}”匹配的用户。")
NAME = Words(en="Name", zh="姓名")
GRANT = Words(en="Grant", zh="授权")
WAITING_NUMBER = Words(en="Waiting", zh="等待中")
FIRST_SEEN = Words(en="First heard of", zh="首次使用")
LAST_SEEN = Words(en="Last active", zh="最近活跃")
GRANT_STATUSES: Mapping[str, Words] = {
    GrantStatus.ACTIVE: Words(en="Active", zh="有效"),
    GrantStatus.ENDED: Words(en="Ended", zh="已结束"),
    "expired": Words(en="Expired", zh="已过期"),
}
NO_GRANT = Words(en="None", zh="无")
NUMBER_OF_SCOPES = Words(en="{number} scopes", zh="{number} 项权限")
ONE_SCOPE = Words(en="1 scope", zh="1 项权限")

# --- one person ----------------------------------------------------------------------------------------

USER_ID = Words(en="ID", zh="ID")
ORGANIZATION = Words(en="Organization", zh="组织")
LANGUAGE = Words(en="Language", zh="语言")
LANGUAGES = {"en": Words(en="English", zh="英文"), "zh": Words(en="Chinese", zh="中文")}
TIME_ZONE = Words(en="Time zone", zh="时区")
QUIET_SINCE = Words(en="Reminders off since", zh="免打扰自")
AUTHORIZED_AT = Words(en="Last consent", zh="最近授权")
REFRESHED_AT = Words(en="Last refresh", zh="最近续期")
LAST_USED_AT = Words(en="Last used", zh="最近使用")
ACCESS_UNTIL = Words(en="Access token expires", zh="访问令牌到期")
REFRESH_UNTIL = Words(en="Refresh token expires", zh="刷新令牌到期")
REFRESH_HEALTH = Words(en="Refresh", zh="续期")
CAN_REFRESH = Words(en="possible", zh="可续期")
CANNOT_REFRESH = Words(
    en="not possible: the user is asked again after the expiry", zh="不可续期：到期后会再次请用户授权"
)
REFRESH_FAILED = Words(en="failed {number} times in a row", zh="连续失败 {number} 次")
ENDED_AT = Words(en="Ended", zh="结束时间")
END_REASON = Words(en="Why it ended", zh="结束原因")
HELD_SCOPES = Words(en="Scopes", zh="权限")
ASKED_BY = Words(en="for {commands}", zh="用于 {commands}")
USED = Words(en="used {time}", zh="使用于 {time}")
NOT_USED = Words(en="not used yet", zh="尚未使用")
NEVER_GRANTED = Words(en="This person hasn't authorized anything.", zh="此用户没有授权过。")
WHAT_WAITS = Words(en="Waiting calls, and why", zh="等待中的命令及原因")
NOTHING_WAITS = Words(en="No calls are waiting.", zh="没有等待中的命令。")
RECENT_REQUESTS = Words(en="Latest requests", zh="最近的授权请求")
RECENT_CALLS = Words(en="Latest calls", zh="最近的命令")
HISTORY = Words(en="What happened", zh="记录")
HISTORY_OF = Words(en="The latest {number} entries of the audit log", zh="审计日志最近 {number} 条")
DONE_FOR = Words(en="Done in this person's name", zh="以此用户身份执行的操作")
DONE_LINK = Words(en="What the bot did in this person's name", zh="查看以此用户身份执行的操作")
NOTHING_HAPPENED = Words(en="Nothing yet.", zh="暂无记录。")
REVOKE = Words(en="Revoke…", zh="撤销授权…")

# --- requests and calls --------------------------------------------------------------------------------

PERSON = Words(en="Person", zh="用户")
COMMAND = Words(en="Command", zh="命令")
COMMANDS = Words(en="Commands", zh="命令")
STATUS = Words(en="Status", zh="状态")
ASKED = Words(en="Asked", zh="请求时间")
OPENED = Words(en="Opened", zh="打开")
SETTLED = Words(en="Ended", zh="结束")
SCOPES_ASKED = Words(en="Scopes", zh="权限")
EXPIRES = Words(en="Expires", zh="到期")
NEEDS = Words(en="Needs", zh="所需权限")
REQUEST = Words(en="Request", zh="授权请求")
ITS_CALLS = Words(en="Its calls", zh="相关命令")
FILTER = Words(en="Filter", zh="筛选")
OF_ONE_PERSON = Words(en="of one person", zh="仅此用户")
OF_ONE_ID = Words(en="with the ID", zh="仅此 ID")
OF_ONE_REQUEST = Words(en="of one request", zh="仅此授权请求")
NO_REQUESTS = Words(en="No requests.", zh="没有授权请求。")
NO_CALLS = Words(en="No calls.", zh="没有命令。")
NO_REQUESTS_SO = Words(en="No requests with this status.", zh="没有此状态的授权请求。")
NO_CALLS_SO = Words(en="No calls with this status.", zh="没有此状态的命令。")
REFUSED_SCOPES = Words(en="refused: {scopes}", zh="拒绝：{scopes}")
DECLINED_ON_PAGE = Words(en="declined on the platform's page", zh="在平台页面拒绝")

CALL_STATUSES: Mapping[str, Words] = {
    CallStatus.QUEUED: Words(en="Queued", zh="排队中"),
    CallStatus.RUNNING: Words(en="Running", zh="执行中"),
    CallStatus.SUSPENDED: Words(en="Suspended", zh="已挂起"),
    CallStatus.SUCCEEDED: Words(en="Succeeded", zh="成功"),
    CallStatus.FAILED: Words(en="Failed", zh="失败"),
    CallStatus.OUTCOME_UNKNOWN: Words(en="Outcome unknown", zh="结果未知"),
    CallStatus.CANCELLED: Words(en="Cancelled", zh="已取消"),
    CallStatus.EXPIRED: Words(en="Expired", zh="已过期"),
}
REQUEST_STATUSES: Mapping[str, Words] = {
    RequestStatus.OPEN: Words(en="Open", zh="待授权"),
    RequestStatus.REDEEMING: Words(en="Being completed", zh="处理中"),
    RequestStatus.GRANTED: Words(en="Authorized", zh="已授权"),
    RequestStatus.DECLINED: Words(en="Declined", zh="已拒绝"),
    RequestStatus.EXPIRED: Words(en="Expired", zh="已过期"),
    RequestStatus.SUPERSEDED: Words(en="Replaced", zh="已取代"),
    RequestStatus.FAILED: Words(en="Failed", zh="失败"),
}
WAITS_FOR: Mapping[str, Words] = {
    WaitsFor.AUTHORIZATION: Words(en="waits for consent", zh="等待用户授权"),
    WaitsFor.ADMINISTRATOR: Words(en="waits for an administrator", zh="等待管理员"),
    WaitsFor.CONFIRMATION: Words(en="waits for confirmation", zh="等待用户确认"),
}
RETRIED = Words(en="retried since {time}", zh="自 {time} 起重试")

# --- errors and what was done --------------------------------------------------------------------------

RESULT = Words(en="Result", zh="结果")
LOG_ID = Words(en="Log ID", zh="日志 ID")
TOOK = Words(en="Took", zh="耗时")
AT = Words(en="When", zh="时间")
NO_PLATFORM_ERRORS = Words(en="No errors recorded.", zh="没有错误记录。")
NOTHING_DONE = Words(en="Nothing recorded.", zh="没有记录。")
CODE = Words(en="code {code}", zh="错误码 {code}")
API_OUTCOMES: Mapping[str, Words] = {
    "succeeded": Words(en="Succeeded", zh="成功"),
    "insufficient_scope": Words(en="User's scope missing", zh="缺少用户授权"),
    "app_scope_missing": Words(en="App's scope missing", zh="应用未开通权限"),
    "token_rejected": Words(en="Token rejected", zh="令牌被拒绝"),
    "rate_limited": Words(en="Rate-limited", zh="被限流"),
    "refused": Words(en="Refused", zh="被拒绝"),
    "no_answer": Words(en="No answer", zh="无响应"),
}
STORY = Words(en="Story", zh="经过")

# --- one story -----------------------------------------------------------------------------------------

CALL_ID = Words(en="Call", zh="命令 ID")
MESSAGE_ID = Words(en="Message", zh="消息 ID")
WHERE = Words(en="Where", zh="来源")
CHATS = {"direct": Words(en="direct chat", zh="单聊"), "group": Words(en="group", zh="群聊")}
API_CALLS = Words(en="Calls to the platform", zh="平台调用次数")
CONSENTS_TAKEN = Words(en="Consents", zh="授权次数")
OUTCOME = Words(en="Outcome", zh="结果")
LASTED = Words(en="Duration", zh="总耗时")
TIMELINE = Words(en="Timeline", zh="时间线")
STORY_CUT = Words(en="Only the first {number} events are shown.", zh="仅显示前 {number} 个事件。")
ARGUMENTS_NOT_SHOWN = Words(
    en="What the person wrote after the command isn't shown here, and is erased when the call ends.",
    zh="此处不显示用户在命令后输入的内容；命令结束后该内容会被清除。",
)

ACTIONS: Mapping[str, Words] = {
    "asked": Words(en="Asked", zh="收到命令"),
    "api_call": Words(en="Called the platform", zh="调用平台"),
    "card_shown": Words(en="Card shown", zh="已显示卡片"),
    "link_opened": Words(en="Link opened", zh="已打开链接"),
    "came_back": Words(en="Came back from the platform", zh="已从平台返回"),
    "call_suspended": Words(en="Suspended", zh="已挂起"),
    "call_released": Words(en="Released", zh="恢复执行"),
    "call_confirmed": Words(en="Confirmed by the user", zh="用户已确认"),
    "call_waits_otherwise": Words(en="Waits for something else", zh="改为等待其他条件"),
    "call_succeeded": Words(en="Succeeded", zh="执行成功"),
    "call_failed": Words(en="Failed", zh="执行失败"),
    "call_outcome_unknown": Words(en="Outcome unknown", zh="结果未知"),
    "call_cancelled": Words(en="Cancelled", zh="已取消"),
    "call_expired": Words(en="Expired", zh="已过期"),
    "call_rejected": Words(en="Rejected: not written by the bot", zh="已拒绝：非机器人写入"),
    "message_queued": Words(en="Message queued", zh="消息待发送"),
    "message_sending": Words(en="Message being sent", zh="消息发送中"),
    "message_sent": Words(en="Message sent", zh="消息已发送"),
    "message_undeliverable": Words(en="Message not deliverable", zh="消息无法送达"),
    "message_outcome_unknown": Words(en="Message perhaps not sent", zh="消息可能未送达"),
    "request_opened": Words(en="Authorization requested", zh="发起授权请求"),
    "request_widened": Words(en="More scopes requested", zh="增加权限"),
    "request_narrowed": Words(en="Fewer scopes requested", zh="减少权限"),
    "request_reopened": Words(en="Requested again", zh="重新请求"),
    "request_asks_otherwise": Words(en="Other scopes requested", zh="改为请求其他权限"),
    "request_granted": Words(en="Authorized", zh="已授权"),
    "request_declined": Words(en="Declined", zh="已拒绝"),
    "request_expired": Words(en="Request expired", zh="授权请求已过期"),
    "request_failed": Words(en="Request failed", zh="授权请求失败"),
    "request_superseded": Words(en="Replaced by a newer card", zh="已被新卡片取代"),
    "card_moved": Words(en="Card sent again", zh="卡片已重发"),
    "attempt_completed": Words(en="Consent completed", zh="授权完成"),
    "attempt_denied": Words(en="Declined on the platform's page", zh="在平台页面拒绝"),
    "attempt_failed": Words(en="Consent failed", zh="授权失败"),
    "attempt_expired": Words(en="Consent not completed in time", zh="授权超时"),
    "callback_rejected": Words(en="Callback rejected", zh="回调被拒绝"),
    "device_authorization_begun": Words(en="Authorization by code begun", zh="开始验证码授权"),
    "device_authorization_minted": Words(en="Code shown", zh="已显示验证码"),
    "device_authorization_completed": Words(en="Authorized by code", zh="验证码授权完成"),
    "device_authorization_denied": Words(en="Declined by code", zh="验证码授权被拒绝"),
    "device_authorization_failed": Words(en="Authorization by code failed", zh="验证码授权失败"),
    "device_authorization_expired": Words(en="Code expired", zh="验证码已过期"),
    "grant_stored": Words(en="Grant stored", zh="授权已保存"),
    "grant_ended": Words(en="Grant ended", zh="授权已结束"),
    "grant_revoked_at_platform": Words(en="Revoked at the platform", zh="在平台撤销"),
    "consent_withdrawn": Words(en="Consent withdrawn", zh="授权被撤回"),
    "consent_dropped": Words(en="Consent of someone else dropped", zh="他人的授权未被采用"),
    "token_refreshed": Words(en="Token refreshed", zh="令牌已续期"),
    "refresh_failed": Words(en="Refresh failed", zh="续期失败"),
    "revocation_done": Words(en="Revoked at the platform", zh="平台已撤销"),
    "revocation_failed": Words(en="Revocation at the platform failed", zh="平台撤销失败"),
    "page_error_reported": Words(en="Error on the platform's page reported", zh="上报平台页面错误"),
    "scopes_enabled": Words(en="Scopes enabled", zh="权限已开通"),
    "scopes_applied_for": Words(en="Scopes applied for", zh="已申请权限"),
    "scopes_given_back": Words(en="Scopes given back", zh="已交还权限"),
    "unused_scopes_offered": Words(en="Offered to give back unused scopes", zh="建议交还未使用的权限"),
    "signed_in": Words(en="Signed in", zh="已登录"),
    "signed_out": Words(en="Signed out", zh="已退出登录"),
    "sign_in_failed": Words(en="Sign-in failed", zh="登录失败"),
    "revoked_by_operator": Words(en="Revoked by an operator", zh="由运维人员撤销"),
    "scopes_checked": Words(en="Enabled scopes checked by an operator", zh="运维人员检查了已开通权限"),
    "keys_rotated": Words(en="Keys rotated by an operator", zh="运维人员轮换了密钥"),
    "user_forgotten": Words(en="User forgotten by an operator", zh="运维人员删除了用户数据"),
    "audit_retention_changed": Words(en="Retention of the audit log changed", zh="审计日志保留时间已更改"),
    "attempt_rejected": Words(
        en="Opening rejected: not written by the bot", zh="打开记录被拒绝：非机器人写入"
    ),
    "message_rejected": Words(en="Message rejected: not written by the bot", zh="消息被拒绝：非机器人写入"),
    "session_rejected": Words(
        en="Session rejected: not written by the bot", zh="登录会话被拒绝：非机器人写入"
    ),
}
"""Rows of the view `call_story`, and actions of the audit log. One that is not listed is shown as it is stored."""

REASONS: Mapping[str, Words] = {
    # How calls end.
    "answered": Words(en="Answered", zh="已答复"),
    "still_refused": Words(en="Still refused after the consent", zh="授权后仍被拒绝"),
    "platform_failed": Words(en="The platform kept failing", zh="平台持续出错"),
    "busy": Words(en="Rate-limited by the platform", zh="平台限流"),
    "token_refused": Words(en="A fresh token was rejected", zh="新令牌被拒绝"),
    "app_misconfigured": Words(en="The app's settings are wrong", zh="应用配置有误"),
    "blocked_by_policy": Words(en="Blocked by a security policy", zh="被安全策略拦截"),
    "unknown_scope": Words(en="Unknown scope", zh="权限不存在"),
    "administrators_told_enough": Words(
        en="Too many reports to administrators today", zh="当天向管理员上报次数过多"
    ),
    "unknown_command": Words(en="The command no longer exists", zh="命令已不存在"),
    "crashed": Words(en="Error in the command", zh="命令内部错误"),
    "no_progress": Words(en="Given up after repeated crashes", zh="多次中断后放弃"),
    "outcome_unknown": Words(en="Outcome unknown", zh="结果未知"),
    "expired": Words(en="Expired", zh="已过期"),
    "cancelled_by_user": Words(en="Cancelled by the user", zh="用户取消"),
    "not_now": Words(en="Declined on the card", zh="在卡片上拒绝"),
    "partly_refused": Words(en="A scope it needs was refused", zh="所需权限未获授权"),
    "discarded": Words(en="Not confirmed", zh="未确认"),
    "recalled": Words(en="Message recalled", zh="消息已撤回"),
    "person_left": Words(en="The user left the organization", zh="用户已离开组织"),
    "app_stopped": Words(en="The organization removed the app", zh="应用已被组织移除"),
    "forged": Words(en="Not written by the bot", zh="非机器人写入"),
    # How requests, openings of links and device codes end.
    "administrator": Words(en="Waits for an administrator", zh="等待管理员"),
    "nothing_granted": Words(en="No permission was selected", zh="未勾选任何权限"),
    "granted": Words(en="Authorized", zh="已授权"),
    "signed_in": Words(en="Signed in", zh="已登录"),
    "access_denied": Words(en="Declined on the platform's page", zh="在平台页面拒绝"),
    "error_on_page": Words(en="Error on the platform's page", zh="平台页面报错"),
    "exchange_lost": Words(en="The code expired before it was exchanged", zh="授权码在兑换前过期"),
    "identity_unknown": Words(en="The platform didn't say who consented", zh="平台未返回授权人"),
    "wrong_person": Words(en="Wrong account", zh="账号不一致"),
    "scopes_refused": Words(en="The platform didn't accept the scopes", zh="平台不接受所需权限"),
    "overtaken": Words(en="Overtaken by a newer consent", zh="已有更新的授权"),
    "withdrawn": Words(en="Revoked in the meantime", zh="期间已撤销"),
    "closed": Words(en="The request had ended", zh="授权请求已结束"),
    "code_lost": Words(en="The code can't be decrypted", zh="验证码无法解密"),
    "other_scopes": Words(en="Other scopes are needed now", zh="所需权限已变化"),
    "not_completed": Words(en="Refused by the platform", zh="平台拒绝"),
    "used": Words(en="Already used", zh="已使用"),
    "late": Words(en="Too late", zh="已超时"),
    # How grants end.
    "revoked_by_user": Words(en="Revoked by the user", zh="用户撤销"),
    "revoked_by_operator": Words(en="Revoked by an operator", zh="由运维人员撤销"),
    "revoked_at_platform": Words(en="Revoked at the platform", zh="在平台撤销"),
    "token_lost": Words(en="The tokens can't be decrypted", zh="令牌无法解密"),
}
"""Outcomes and reasons, as docs/database.md lists them."""

WITH_CODE: Mapping[str, Words] = {
    "refused_": Words(en="Refused by the platform ({code})", zh="平台拒绝（{code}）"),
    "refresh_refused_": Words(en="Refresh refused by the platform ({code})", zh="平台拒绝续期（{code}）"),
    # The rest is who can help, and the code.
    "exchange_": Words(en="The code was not exchanged ({code})", zh="授权码兑换失败（{code}）"),
}
"""Outcomes and reasons that end in a code of the platform, by their beginning."""


def reason(code: str) -> Words | None:
    """Return what an outcome or a reason means; None if it is not one of the bot's."""
    if code in REASONS:
        return REASONS[code]
    for beginning, words in WITH_CODE.items():
        rest = code.removeprefix(beginning)
        if rest != code:
            return words.format(code=rest[:60])
    return None


MESSAGE_KINDS: Mapping[str, Words] = {
    "answer": Words(en="the answer", zh="答复"),
    "interim": Words(en="an interim message", zh="进度提示"),
    "note": Words(en="a note", zh="提示"),
    "notice": Words(en="a notice to an administrator", zh="发给管理员的通知"),
    "administrator_card": Words(en="a card to an administrator", zh="发给管理员的卡片"),
    "confirmation_card": Words(en="a card that asks to confirm", zh="确认卡片"),
}

DETAILS: Mapping[str, Words] = {
    "scopes": Words(en="scopes", zh="权限"),
    "granted": Words(en="granted", zh="已授权"),
    "refused": Words(en="refused", zh="已拒绝"),
    "reason": Words(en="reason", zh="原因"),
    "outcome": Words(en="outcome", zh="结果"),
    "waits_for": Words(en="waits for", zh="等待"),
    "command": Words(en="command", zh="命令"),
    "request": Words(en="request", zh="授权请求"),
    "attempt": Words(en="attempt", zh="打开"),
    "consents": Words(en="consents", zh="授权次数"),
    "generation": Words(en="generation", zh="版本"),
    "operator": Words(en="operator", zh="操作者"),
    "needs": Words(en="needs", zh="所需权限"),
    "gained": Words(en="gained", zh="新增"),
    "lost": Words(en="lost", zh="减少"),
    "avoided": Words(en="left out", zh="不再请求"),
    "code": Words(en="code", zh="错误码"),
    "problem": Words(en="problem", zh="问题"),
    "error": Words(en="error", zh="错误"),
    "result": Words(en="result", zh="结果"),
    "days": Words(en="days", zh="天数"),
    "ended": Words(en="ended", zh="结束"),
    "secrets": Words(en="secrets", zh="密文"),
    "since": Words(en="since", zh="自"),
    "calls": Words(en="calls cancelled", zh="取消的命令"),
    "browsers": Words(en="browsers signed out", zh="退出的浏览器"),
    "released": Words(en="calls released", zh="恢复的命令"),
}

# --- revoking ------------------------------------------------------------------------------------------

REVOKE_TITLE = Words(en="Revoke {name}'s grant?", zh="撤销 {name} 的授权？")
REVOKE_EFFECTS = (
    Words(
        en="The bot loses access to this account at once. The tokens are erased here and revoked at the platform.",
        zh="机器人将立即失去对此账号的访问权限；此处保存的令牌会被清除，并在平台撤销。",
    ),
    Words(
        en="This person's waiting calls are cancelled, and their browsers are signed out.",
        zh="此用户等待中的命令会被取消，已登录的浏览器会退出。",
    ),
    Words(
        en="The person isn't banned: the next command asks for authorization again.",
        zh="用户不会被禁用：下次发送命令时会重新请求授权。",
    ),
    Words(en="The audit log records that you did this.", zh="审计日志会记录此操作由你执行。"),
)
REVOKE_SELF = Words(
    en="This is your own account: you'll be signed out here too.", zh="这是你自己的账号：此处也会退出登录。"
)
REVOKE_CONFIRM = Words(en="Revoke", zh="确认撤销")
CANCEL = Words(en="Cancel", zh="取消")
REVOKED = Words(
    en="Revoked. The bot no longer has access to this account.", zh="已撤销，机器人已无法访问此账号。"
)
NOTHING_TO_REVOKE = Words(
    en="There was no active grant. Waiting calls were cancelled.", zh="没有有效授权；等待中的命令已取消。"
)

# --- the administrators' lane --------------------------------------------------------------------------

LANE_OF = Words(
    en="Scopes that calls need and that the app hasn't enabled. Enable them in the developer console; the calls then "
    "continue by themselves, within about ten seconds.",
    zh="命令所需但应用尚未开通的权限。在开发者后台开通后，相关命令会在约十秒内自动继续。",
)
NOTHING_TO_ENABLE = Words(
    en="Nothing to enable. No calls are waiting for an administrator.",
    zh="没有待开通的权限，也没有命令在等待管理员。",
)
SINCE = Words(en="Since", zh="开始时间")
WAITING_CALLS = Words(en="Calls waiting", zh="等待的命令数")
WAITING_PEOPLE = Words(en="People waiting", zh="等待的用户")
NO_CALL_WAITS = Words(en="No calls are waiting for it now.", zh="已没有命令等待此权限。")
OPEN_DEVELOPER_CONSOLE = Words(en="Open the developer console", zh="打开开发者后台")
LANE_CAPPED = Words(
    en="Only the {number} calls that have waited longest are counted.",
    zh="仅统计等待最久的 {number} 条命令。",
)
CHECK_AGAIN = Words(en="Check again…", zh="重新检查…")
CHECK_TITLE = Words(en="Check the app's scopes now?", zh="立即检查应用权限？")
CHECK_EFFECTS = (
    Words(
        en="The bot asks the platform which scopes are enabled. Calls whose scopes are enabled continue.",
        zh="机器人会向平台查询已开通的权限，满足条件的命令会继续执行。",
    ),
    Words(
        en="Calls that wait because the platform's page showed an error are tried again.",
        zh="因平台页面报错而等待的命令会重试。",
    ),
    Words(en="The audit log records that you did this.", zh="审计日志会记录此操作由你执行。"),
)
CHECK_CONFIRM = Words(en="Check now", zh="立即检查")
CHECKED_NONE = Words(en="Checked. No call can continue yet.", zh="已检查，暂无命令可以继续。")
CHECKED_SOME = Words(
    en="Checked. Calls whose scopes are enabled continue now.", zh="已检查，已开通权限的命令正在继续。"
)
