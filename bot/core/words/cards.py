"""The text of cards, and of the notices that answer a click on them."""

from __future__ import annotations

from bot.core.language import Words
from bot.core.platform import ScopeApplication

# --- the authorization card -----------------------------------------------------------------------------

WAITING_TITLE = Words(en="Authorize to continue", zh="需要你的授权")
WAITING_WHY = Words(en="To run {commands} as you, I need:", zh="以你的身份执行 {commands} 需要以下权限：")
WAITING_PROMISE = Words(
    en="I'll continue automatically once you've authorized. Expires {until} · /revoke undoes it any time.",
    zh="授权后自动继续。请在{until} 前完成；随时可发送 /revoke 撤销。",
)
STAYS_SIGNED_IN = Words(
    en=" You also stay signed in (offline_access).", zh="授权后将保持登录（offline_access）。"
)
"""Follows `WAITING_PROMISE` if `offline_access` is requested along with other scopes."""
ALREADY_GRANTED = Words(en="Already authorized: {scopes}", zh="已授权：{scopes}")
AGAIN_EXPIRED = Words(
    en="Your earlier authorization has expired, so I'm asking again.", zh="你之前的授权已过期，需要重新授权。"
)
AGAIN_OVER = Words(
    en="Your earlier authorization is no longer valid (expired, or revoked on the platform), so I'm asking again.",
    zh="你之前的授权已失效（已过期，或已在平台上撤销），需要重新授权。",
)
AGAIN_REVOKED = Words(
    en="You revoked your earlier authorization, so I'm asking again.",
    zh="你之前的授权已由你撤销，需要重新授权。",
)
AGAIN_REVOKED_BY_OPERATOR = Words(
    en="An administrator revoked your earlier authorization, so I'm asking again.",
    zh="你之前的授权已由管理员撤销，需要重新授权。",
)
AGAIN_REVOKED_AT_PLATFORM = Words(
    en="Your earlier authorization was revoked on the platform, so I'm asking again.",
    zh="你之前的授权已在平台上撤销，需要重新授权。",
)
AGAIN_ENDED = Words(
    en="Your earlier authorization has ended, so I'm asking again.", zh="你之前的授权已终止，需要重新授权。"
)
AGAIN_LOST = Words(
    en="The platform dropped part of your authorization, so I'm asking again.",
    zh="平台不再认可你之前的部分授权，需要重新授权。",
)
AGAIN_ENABLED = Words(
    en="An administrator has enabled what was missing, so I'm asking again.",
    zh="管理员已开通缺少的权限，需要重新授权。",
)
CANCEL = Words(en="Cancel", zh="取消")
AUTHORIZE = Words(en="Authorize", zh="去授权")
NOT_NOW = Words(en="Not now", zh="暂不授权")
PAGE_ERROR = Words(en="Trouble with the page?", zh="授权遇到问题？")

WHICH_ERROR_TITLE = Words(en="What does the page say?", zh="页面提示了什么？")
WHICH_ERROR_BODY = Words(
    en="Pick what the authorization page shows, so that I can fix it or tell your administrator.",
    zh="请选择授权页面显示的内容，以便我处理或通知管理员。",
)
ERROR_SCOPE = Words(en="A permission is wrong (20027, 20043)", zh="权限有误（20027、20043）")
ERROR_REDIRECT = Words(en="The redirect URL is wrong (20029)", zh="重定向 URL 有误（20029）")
ERROR_APP = Words(en="I can't use this app (20009, 20010)", zh="我无法使用此应用（20009、20010）")
ERROR_OTHER = Words(en="Something else", zh="其他内容")

DEVICE_CODE = Words(
    en="Open the page, check the code **{code}**, and sign in with your own account. Valid until {until}.",
    zh="打开授权页，核对验证码 **{code}**，并使用你本人的账号登录。{until} 前有效。",
)
OPEN_PLATFORM_PAGE = Words(en="Open the authorization page", zh="打开授权页")
DEVICE_EXPIRED = Words(
    en="The link has expired. Press the button for a new one.", zh="链接已过期，请点击按钮获取新链接。"
)
DEVICE_WRONG_PERSON = Words(
    en="The last link was confirmed with another account, so it wasn't used. Press the button and sign in with "
    "your own account.",
    zh="上一个链接由其他账号确认，未生效。请重新点击按钮，并使用你本人的账号登录。",
)
DEVICE_NOT_ALLOWED = Words(
    en="You don't have access to this app. Ask your administrator, then press the button again.",
    zh="你无权使用此应用。请联系管理员，然后重新点击按钮。",
)
DEVICE_MISCONFIGURED = Words(
    en="The platform doesn't accept this app's settings. Tell your administrator, then press the button again.",
    zh="平台不接受此应用的配置。请联系管理员，然后重新点击按钮。",
)
DEVICE_OTHER_SCOPES = Words(
    en="The platform refused the last request, so I've changed what I ask for. Press the button again.",
    zh="平台拒绝了上次的申请，我已更换所需权限，请重新点击按钮。",
)
DEVICE_FAILED = Words(
    en="The last attempt didn't go through. Press the button again.", zh="上次授权未完成，请重新点击按钮。"
)

DECLINED_ON_PAGE_TITLE = Words(en="Declined on the page", zh="已在授权页上拒绝")
DECLINED_ON_PAGE_BODY = Words(
    en="{commands} {was_not} run. You can still authorize until {until}, or press “Not now” to cancel. Needed:",
    zh="{commands} 未执行。{until} 前仍可授权，或点击“暂不授权”取消。需要以下权限：",
)

REDEEMING_TITLE = Words(en="One moment", zh="请稍候")
REDEEMING_BODY = Words(
    en="Completing your authorization, then continuing with {commands}.",
    zh="正在完成授权，随后继续执行 {commands}。",
)

AUTHORIZED_TITLE = Words(en="Authorized", zh="授权成功")
AUTHORIZED_BODY = Words(en="For {commands}:", zh="用于 {commands}：")

PARTLY_TITLE = Words(en="Partly authorized", zh="部分授权")
PARTLY_GRANTED = Words(en="You allowed:", zh="已授权：")
PARTLY_REFUSED = Words(en="Still missing:", zh="尚未授权：")
PARTLY_AFTER = Words(
    en="Commands that need what's missing weren't run. Send them again if you change your mind.",
    zh="需要以上未授权权限的命令没有执行。如需继续，请重新发送。",
)

DECLINED_TITLE = Words(en="Not authorized", zh="未授权")
DECLINED_BODY = Words(
    en="OK, I didn't run {commands}. Send {it} again if you change your mind.",
    zh="好的，已取消 {commands}。如需继续，重新发送即可。",
)

EXPIRED_TITLE = Words(en="Expired", zh="已过期")
EXPIRED_BODY = Words(
    en="This request expired, so {commands} {was_not} run.", zh="授权请求已过期，{commands} 未执行。"
)

SUPERSEDED_TITLE = Words(en="Replaced by a newer card", zh="已有新卡片")
SUPERSEDED_BODY = Words(
    en="Please use the newest card for {commands}.", zh="请使用最新的卡片为 {commands} 授权。"
)

ADMINISTRATOR_TITLE = Words(en="Waiting for your administrator", zh="等待管理员开通")
ADMINISTRATOR_BODY = Words(
    en="{commands} {needs} {permissions} this app doesn't have yet:",
    zh="{commands} 需要的权限尚未开通：",
)
ADMINISTRATOR_AFTER = Words(
    en="An administrator has to enable it. I'll ask you as soon as it's enabled. /cancel to drop it.",
    zh="需由管理员开通，开通后我会再请你授权。发送 /cancel 可取消。",
)

FAILED_TITLE = Words(en="Authorization failed", zh="授权失败")
FAILED_BODY = Words(
    en="{commands} {was_not} run. Please try again; if it keeps failing, tell your administrator.",
    zh="{commands} 未执行。请重新发送；如果仍然失败，请联系管理员。",
)

AND_MORE = Words(en="and {number} more", zh="还有 {number} 项")

YOUR_REQUEST = Words(en="your request", zh="你的请求")
"""Stands in for the commands if none is known."""

# --- the administrator's card ---------------------------------------------------------------------------

ASK_ADMINISTRATOR_TITLE = Words(en="Permission to enable", zh="有权限待开通")
ASK_ADMINISTRATOR_BODY = Words(
    en="{people} {wants} to use {commands}. Please enable {these} for the app:",
    zh="{people}想使用 {commands}，请为应用开通以下用户身份权限：",
)
AND_OTHERS = Words(en="{people}, and {rest} more", zh="{people}等 {all} 人")
ASK_ADMINISTRATOR_AFTER = Words(
    en="If the console asks for a new version, publish it too. Waiting requests continue within seconds.",
    zh="如果后台提示需要发布版本，请一并发布。开通后，等待中的请求会在几秒内继续。",
)
OPEN_CONSOLE = Words(en="Open developer console", zh="打开开发者后台")
CHECK_AGAIN = Words(en="Check again", zh="重新检查")
APPLY = Words(en="Request approval", zh="向企业管理员申请")
ADMINISTRATOR_DONE_TITLE = Words(en="Enabled", zh="已开通")
ADMINISTRATOR_DONE_BODY = Words(en="Waiting requests are being continued:", zh="相关请求正在继续：")
ADMINISTRATOR_DROPPED_TITLE = Words(en="No longer needed", zh="以下权限已无人需要")

# --- the confirmation card ------------------------------------------------------------------------------

CONFIRM_TITLE = Words(en="Still want this?", zh="还需要执行吗？")
CONFIRM_BODY = Words(
    en="You sent {command} on {asked}. It makes a change, so please confirm.",
    zh="你在{asked} 发送了 {command}。此命令会更改内容，请确认是否执行。",
)
CONFIRM = Words(en="Yes, run it", zh="执行")
DISCARD = Words(en="No, cancel", zh="取消")
CONFIRMED_TITLE = Words(en="Confirmed", zh="已确认")
DISCARDED_TITLE = Words(en="Cancelled", zh="已取消")
DECIDED_BODY = Words(en="{command} · sent {asked}", zh="{command} · {asked} 发送")

# --- the card of unused scopes ---------------------------------------------------------------------------

UNUSED_TITLE = Words(en="Unused permissions", zh="长期未使用的权限")
UNUSED_BODY = Words(
    en="These haven't been used for two months. Keep them?",
    zh="以下权限已有两个月没有用到，是否保留？",
)
GIVE_BACK = Words(en="Remove them", zh="撤销这些权限")
KEEP = Words(en="Keep them", zh="保留")
GIVEN_BACK = Words(
    en="Removed here. The platform may add them again the next time you authorize something; /revoke takes everything "
    "back.",
    zh="已在此撤销。下次授权时，平台可能会一并恢复这些权限；发送 /revoke 可撤销全部授权。",
)
KEPT = Words(en="Kept.", zh="已保留。")
NOT_GIVEN_BACK = Words(
    en="The platform can't remove them at the moment. /revoke takes everything back right away.",
    zh="平台暂时无法撤销这些权限。发送 /revoke 可立即撤销全部授权。",
)

# --- controls under a reply -----------------------------------------------------------------------------

RETRY = Words(en="Try again", zh="重试")
SEND_AGAIN = Words(en="Send the card again", zh="重新发送卡片")

# --- notices that answer a click ------------------------------------------------------------------------

CLICK_DECLINED = Words(en="OK, cancelled.", zh="好的，已取消。")
CLICK_CHANGED = Words(
    en="I've changed what I ask for. Please try Authorize again.", zh="已更换所需权限，请重新点击“去授权”。"
)
CLICK_WHICH_ERROR = Words(en="What does the page say?", zh="页面提示了什么？")
CLICK_OPEN_FIRST = Words(
    en="Open the page with the card's button first. If it then shows an error, tell me here.",
    zh="请先通过卡片上的按钮打开授权页面。如果页面报错，再在这里告诉我。",
)
CLICK_REPORTED = Words(
    en="Thanks, I've told your administrator. You can try the button again at any time.",
    zh="谢谢，已通知管理员。你可以随时再次点击授权按钮。",
)
CLICK_NOT_REPORTED = Words(
    en="I couldn't reach an administrator. Please show them what the page says.",
    zh="我无法联系管理员，请将页面内容告知管理员。",
)
CLICK_SETTLED = Words(en="This has already been dealt with.", zh="该请求已处理。")
CLICK_LINK = Words(en="Open the link on the card.", zh="请打开卡片上的链接。")
CLICK_LINK_LATER = Words(
    en="The platform is slow. The link will appear on this card in a moment.",
    zh="平台响应较慢，链接稍后会出现在这张卡片上。",
)
CLICK_DONE = Words(en="Done.", zh="已处理。")
CLICK_SENT_AGAIN = Words(en="Sent again below.", zh="已在下方重新发送。")
CLICK_AGAIN = Words(en="Trying again…", zh="正在重试……")
CLICK_TOO_MANY = Words(
    en="You have too many requests waiting. Send /cancel to drop them.",
    zh="等待中的请求过多。发送 /cancel 可全部取消。",
)
CLICK_UNKNOWN = Words(
    en="This button no longer works. Please send the command again.", zh="此按钮已失效，请重新发送命令。"
)
CLICK_NOT_YOURS = Words(en="This card was sent to someone else.", zh="这张卡片是发给其他人的。")
CLICK_ADMINISTRATORS_ONLY = Words(en="Only an administrator can do this.", zh="仅管理员可执行此操作。")
CLICK_LATER = Words(
    en="The platform is slow. I'll keep checking automatically.", zh="平台响应较慢，我会继续自动检查。"
)
CLICK_ENABLED = Words(en="It's enabled. Thank you!", zh="已开通，谢谢！")
CLICK_NOT_ENABLED = Words(
    en="Not enabled yet. Does a new version need to be published?", zh="尚未开通。是否需要发布新版本？"
)

CLICK_APPLIED = {
    ScopeApplication.SENT: (
        Words(
            en="Your organization's administrators have been asked. I'll continue once they approve.",
            zh="已向企业管理员发送申请，通过后会自动继续。",
        ),
        "success",
    ),
    ScopeApplication.SENT_BEFORE: (
        Words(en="They've already been asked and haven't decided yet.", zh="申请已提交，管理员尚未处理。"),
        "info",
    ),
    ScopeApplication.NOTHING_PENDING: (
        Words(
            en="Nothing to request yet: add the scope in the developer console first.",
            zh="暂无待审批的权限，请先在开发者后台添加该权限。",
        ),
        "warning",
    ),
    ScopeApplication.REFUSED: (
        Words(
            en="The platform can't forward this request. Please enable the permission in the developer console.",
            zh="平台无法代为申请，请在开发者后台开通。",
        ),
        "warning",
    ),
    ScopeApplication.FAILED: (
        Words(
            en="The request wasn't accepted. Please try again in a moment.",
            zh="申请未被受理，请稍后再试。",
        ),
        "warning",
    ),
}
"""The notice for each result, and the kind of its toast."""
