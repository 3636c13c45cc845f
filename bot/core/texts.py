"""The words on cards, and in the small notices that answer a click. What commands say is with them."""

from __future__ import annotations

from bot.core.model import ScopeApplication, Words

# --- the authorization card -----------------------------------------------------------------------------

WAITING_TITLE = Words(en="Your permission, please", zh="需要你的授权")
WAITING_WHY = Words(
    en="You asked for {commands}. I do this as you, so I may only see and change what you allow. It needs:",
    zh="你发送了 {commands}。我会以你的身份执行，只能访问你允许的内容。本次需要：",
)
WAITING_PROMISE = Words(
    en="After that I carry on by myself and answer where you asked. You can take this back at any time "
    "with /revoke. Open until {until}.",
    zh="授权后我会自动继续，并在你提问的地方回复。你可以随时发送 /revoke 收回授权。有效期至 {until}。",
)
STAYS_SIGNED_IN = Words(
    en=" It also lets me stay signed in (offline_access).", zh="同时会保持登录（offline_access）。"
)
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
    en="The platform no longer lets me use all that you authorized before, so I'm asking for it again, all at once.",
    zh="平台不再允许我使用你之前授权的部分权限，因此一并重新申请。",
)
ALREADY_GRANTED = Words(en="You have allowed already:", zh="你已允许：")
CANCEL = Words(en="Cancel", zh="取消")
AUTHORIZE = Words(en="Authorize", zh="去授权")
NOT_NOW = Words(en="Not now", zh="暂不授权")
PAGE_ERROR = Words(en="The page shows an error", zh="授权页面报错了")

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
    en="The button leads to the platform's own page, until {until}. If that page shows or asks for a code, it is "
    "**{code}**. Sign in there as yourself.",
    zh="点击按钮将打开平台的授权页，{until} 前有效。如果页面显示或要求输入验证码，应为 **{code}**。"
    "请使用你本人的账号登录。",
)
OPEN_PLATFORM_PAGE = Words(en="Open the platform's page", zh="打开平台授权页")
DEVICE_EXPIRED = Words(
    en="The last link has expired. Nothing is lost: press the button for a new one.",
    zh="上一个链接已过期。不用担心，请再点一次按钮获取新链接。",
)
DEVICE_WRONG_PERSON = Words(
    en="Somebody else confirmed the last link, so it did not count. Press the button and sign in as yourself.",
    zh="上一个链接是由其他人确认的，因此无效。请再点一次按钮，并使用你本人的账号登录。",
)
DEVICE_NOT_ALLOWED = Words(
    en="The platform says that you may not use this app. Please ask your administrator, then press the button again.",
    zh="平台提示你无权使用此应用。请联系管理员，然后再点一次按钮。",
)
DEVICE_MISCONFIGURED = Words(
    en="The platform does not accept this app's settings. Please tell your administrator; the button stays.",
    zh="平台不接受此应用的配置，请联系管理员。按钮会一直保留。",
)
DEVICE_OTHER_SCOPES = Words(
    en="The platform refused what I asked for. I ask for something else now: please press the button again.",
    zh="平台拒绝了上次申请的权限。我已更换申请内容，请再点一次按钮。",
)
DEVICE_FAILED = Words(
    en="The last try could not be completed, and nothing was done. Please press the button again.",
    zh="上一次授权未能完成，没有执行任何操作。请再点一次按钮。",
)

DECLINED_ON_PAGE_TITLE = Words(en="Declined on the page", zh="已在授权页上拒绝")
DECLINED_ON_PAGE_BODY = Words(
    en="{commands} {was_not} run. You can still authorize until {until}, or cancel with “Not now”. Needed:",
    zh="没有执行 {commands}。{until} 前仍可授权，也可点击“暂不授权”取消。需要以下权限：",
)

REDEEMING_TITLE = Words(en="One moment", zh="请稍候")
REDEEMING_BODY = Words(
    en="Your consent has arrived. I am completing it with the platform, and then carry on with {commands}.",
    zh="已收到你的授权，正在与平台确认，随后继续执行 {commands}。",
)

AUTHORIZED_TITLE = Words(en="Authorized, thank you", zh="授权成功，谢谢")
AUTHORIZED_BODY = Words(
    en="I carry on with {commands} right away. You allowed:", zh="我将立即继续执行 {commands}。你已允许："
)
AUTHORIZED_AFTER = Words(
    en="/permissions shows all that you have allowed, /revoke takes it back.",
    zh="发送 /permissions 查看你的全部授权，发送 /revoke 收回。",
)

PARTLY_TITLE = Words(en="Partly authorized", zh="已部分授权")
PARTLY_GRANTED = Words(en="You allowed:", zh="你已允许：")
PARTLY_REFUSED = Words(en="Still missing:", zh="仍然缺少：")
PARTLY_AFTER = Words(
    en="What needs the missing part was not done. Send that command again if you change your mind.",
    zh="需要所缺权限的操作没有执行。如果改变主意，请再次发送相应命令。",
)

DECLINED_TITLE = Words(en="Not authorized", zh="未授权")
DECLINED_BODY = Words(
    en="As you wish: nothing was done, and I will not ask again unless you do. "
    "Send {commands} again if you change your mind.",
    zh="好的，没有执行任何操作；除非你再次提出，我不会再询问。如果改变主意，请再次发送 {commands}。",
)

EXPIRED_TITLE = Words(en="This request has expired", zh="请求已过期")
EXPIRED_BODY = Words(
    en="It waited until {until}. Nothing was done. Send {commands} again and I will ask anew.",
    zh="已等待至 {until}，没有执行任何操作。请再次发送 {commands}，我会重新询问。",
)

SUPERSEDED_TITLE = Words(en="Replaced by a newer card", zh="已由新卡片取代")
SUPERSEDED_BODY = Words(
    en="Please use my newest card for {commands}.", zh="{commands} 的授权请使用我最新发送的卡片。"
)

ADMINISTRATOR_TITLE = Words(en="Waiting for your administrator", zh="等待管理员开通")
ADMINISTRATOR_BODY = Words(
    en="{commands} needs something that this app does not have yet:",
    zh="{commands} 需要此应用尚未开通的权限：",
)
ADMINISTRATOR_AFTER = Words(
    en="I have told the administrator. As soon as it is enabled I carry on by myself; you need not do "
    "anything. /cancel drops it.",
    zh="我已通知管理员，开通后会自动继续，你无需操作。发送 /cancel 可取消等待。",
)

FAILED_TITLE = Words(en="That did not work", zh="授权未成功")
FAILED_BODY = Words(
    en="The authorization for {commands} could not be completed, and nothing was done. Please send the "
    "command again; if it fails once more, tell your administrator.",
    zh="{commands} 的授权未能完成，没有执行任何操作。请再次发送该命令；如果仍然失败，请联系管理员。",
)

SOMETHING = Words(en="your request", zh="你的请求")
"""In the place of the commands, when none is named."""

# --- the administrator's card ---------------------------------------------------------------------------

ASK_ADMINISTRATOR_TITLE = Words(en="A permission to enable", zh="有权限待开通")
ASK_ADMINISTRATOR_BODY = Words(
    en="{people} asked for {commands}, but this app has not enabled for user identity:",
    zh="{people} 发送了 {commands}，但此应用尚未为用户身份开通：",
)
ASK_ADMINISTRATOR_AFTER = Words(
    en="Enable it in the developer console, under the user identity. If the console asks for a new version, "
    "release it too. I notice by myself within a few seconds.",
    zh="请在开发者后台的“用户身份”下开通。如果后台提示需要发布版本，请一并发布。开通后几秒内我会自动发现。",
)
OPEN_CONSOLE = Words(en="Open the console", zh="打开开发者后台")
CHECK_AGAIN = Words(en="Done, check again", zh="已开通，重新检查")
APPLY = Words(en="Ask the organization's administrator", zh="向企业管理员申请")
ADMINISTRATOR_DONE_TITLE = Words(en="Enabled, thank you", zh="已开通，谢谢")
ADMINISTRATOR_DONE_BODY = Words(
    en="Whoever waited for it is being served now:", zh="等待它的人现在可以继续了："
)
ADMINISTRATOR_DROPPED_TITLE = Words(en="Not needed any more", zh="暂不需要")
ADMINISTRATOR_DROPPED_BODY = Words(
    en="Nobody waits any more for what this app has not enabled:", zh="已没有人在等待此应用尚未开通的权限："
)

# --- the confirmation card ------------------------------------------------------------------------------

CONFIRM_TITLE = Words(en="Do you still want this?", zh="还需要执行吗？")
CONFIRM_BODY = Words(
    en="You asked for {command} at {asked}. It changes something and has waited for a while, so I would "
    "rather ask first.",
    zh="你在 {asked} 发送了 {command}。它会更改内容，而且已经等待了一段时间，所以我先确认一下。",
)
CONFIRM = Words(en="Yes, do it", zh="执行")
DISCARD = Words(en="No, drop it", zh="放弃")
CONFIRMED_BODY = Words(
    en="{command}, asked for at {asked}: you said yes.", zh="{command}（{asked}）：你已确认执行。"
)
DISCARDED_BODY = Words(
    en="{command}, asked for at {asked}: dropped. Nothing was done.",
    zh="{command}（{asked}）：已放弃，没有执行任何操作。",
)

# --- the card of unused scopes ---------------------------------------------------------------------------

UNUSED_TITLE = Words(en="Do I still need this?", zh="这些权限还需要吗？")
UNUSED_BODY = Words(
    en="You allowed me this, and I have not needed it for two months:",
    zh="你曾授予我以下权限，但我已有两个月没有用到：",
)
GIVE_BACK = Words(en="Give it back", zh="交还这些权限")
KEEP = Words(en="Keep it", zh="保留")
GIVEN_BACK = Words(
    en="Given back: my tokens no longer allow it. The platform remembers that you once agreed, so it may come along "
    "when you authorize something else; /revoke ends everything.",
    zh="已交还：我的令牌不再包含这些权限。平台仍记得你曾同意，下次授权其他权限时可能一并恢复；"
    "发送 /revoke 可收回全部授权。",
)
KEPT = Words(en="It stays as it is.", zh="已保留。")
NOT_GIVEN_BACK = Words(
    en="The platform does not take it back at the moment. /revoke ends everything at once.",
    zh="平台暂时无法收回。发送 /revoke 可立即收回全部授权。",
)

# --- controls under a reply -----------------------------------------------------------------------------

RETRY = Words(en="Try again", zh="重试")
SEND_AGAIN = Words(en="Send the card again", zh="重新发送卡片")

# --- notices that answer a click ------------------------------------------------------------------------

CLICK_DECLINED = Words(en="All right. Nothing was done.", zh="好的，没有执行任何操作。")
CLICK_CHANGED = Words(
    en="Thank you. I ask for something else now: please try the button again.",
    zh="谢谢。我已更换申请的权限，请再点一次授权按钮。",
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
CLICK_SETTLED = Words(en="This is settled already.", zh="这件事已经处理完毕。")
CLICK_LINK = Words(en="Now follow the link on the card.", zh="请打开卡片上的链接。")
CLICK_LINK_LATER = Words(
    en="The platform is slow to answer. The link appears on this card in a moment.",
    zh="平台响应较慢，链接稍后会出现在这张卡片上。",
)
CLICK_DONE = Words(en="Done, as you say.", zh="好的，已按你的意思处理。")
CLICK_SENT_AGAIN = Words(en="Here it is again, below.", zh="已在下方重新发送。")
CLICK_AGAIN = Words(en="I try it again.", zh="正在重试。")
CLICK_TOO_MANY = Words(
    en="You have too many requests waiting. Send /cancel to drop them.",
    zh="你有太多请求在等待。发送 /cancel 可全部取消。",
)
CLICK_UNKNOWN = Words(
    en="I do not know this button any more. Please send the command again.",
    zh="我已不认识这个按钮，请重新发送命令。",
)
CLICK_NOT_YOURS = Words(en="This card is meant for somebody else.", zh="这张卡片不是发给你的。")
CLICK_ADMINISTRATORS_ONLY = Words(en="Only an administrator can do this.", zh="仅管理员可以执行此操作。")
CLICK_LATER = Words(
    en="The platform is slow to answer. I keep looking by myself.", zh="平台响应较慢，我会继续自动检查。"
)
CLICK_ENABLED = Words(en="It is enabled. Thank you!", zh="已开通，谢谢！")
CLICK_NOT_ENABLED = Words(
    en="Not enabled yet. Did the change need a released version?", zh="尚未开通。此更改是否需要发布版本？"
)

CLICK_APPLIED = {
    ScopeApplication.SENT: (
        Words(
            en="The platform has asked the organization's administrators. I notice by myself when they agree.",
            zh="平台已向企业管理员发送申请，通过后我会自动发现。",
        ),
        "success",
    ),
    ScopeApplication.SENT_BEFORE: (
        Words(
            en="They have been asked already, and have not decided yet.", zh="申请已提交，管理员尚未处理。"
        ),
        "info",
    ),
    ScopeApplication.NOTHING_PENDING: (
        Words(
            en="There is nothing to ask them for yet: add the scope in the developer console first.",
            zh="目前没有待审批的权限：请先在开发者后台添加该权限。",
        ),
        "warning",
    ),
    ScopeApplication.REFUSED: (
        Words(
            en="The platform does not pass this on. Please have it enabled in the developer console.",
            zh="平台无法代为申请，请在开发者后台开通。",
        ),
        "warning",
    ),
    ScopeApplication.FAILED: (
        Words(
            en="The platform did not take the request. Please try again in a moment.",
            zh="平台未受理申请，请稍后再试。",
        ),
        "warning",
    ),
}
"""What the click says, and how."""

# --- answers in general ---------------------------------------------------------------------------------

CUT = Words(en="… cut here: it was longer than a message can be.", zh="……内容超出消息长度，已在此截断。")
