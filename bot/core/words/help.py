"""The text of the built-in commands: help, welcome, and the user's own permissions."""

from __future__ import annotations

from bot.core.language import Words

# --- summaries in the help --------------------------------------------------------------------------------

HELP_SUMMARY = Words("all commands", "查看全部命令")
UNKNOWN_SUMMARY = Words("answer anything else", "回复其他消息")
WELCOME_SUMMARY = Words("introduce myself", "自我介绍")
PERMISSIONS_SUMMARY = Words("what you've authorized, and until when", "查看你的授权及有效期")
AUTHORIZE_SUMMARY = Words("authorize permissions ahead of time", "提前授权")
AUTHORIZE_USAGE = Words("SCOPE…", "权限标识…")
CANCEL_SUMMARY = Words("cancel pending requests", "取消等待中的命令")
REVOKE_SUMMARY = Words("take back everything you've authorized", "撤销全部授权")

# --- `/help` and the welcome ------------------------------------------------------------------------------

HELP_TITLE = Words("Commands", "可用命令")
ON_YOUR_BEHALF = Words("On your behalf", "以你的身份执行")
PERMISSIONS_AND_HELP = Words("Permissions and help", "授权与帮助")
EDITS = Words(
    "Editing a message you've already sent changes nothing. To change a request, send it again.",
    "编辑已发送的消息不会生效。如需更改，请重新发送。",
)
"""The platform reports a message only when it is sent, and by the time of an edit its command may have run."""

WELCOME_TITLE = Words("Hello!", "你好！")
WELCOME_AS_YOU = Words(
    "I look things up and get things done for you, as you: I can only see what you can see.",
    "我会以你的身份查信息、办事情，只能看到你有权查看的内容。",
)
WELCOME_PERMISSIONS = Words(
    "If I need a permission, I'll ask you here for just that one. You can decline, "
    "and /revoke takes everything back.",
    "需要权限时，我会在这里单独向你申请。你可以拒绝，也可以随时发送 /revoke 撤销全部授权。",
)
WELCOME_TRY = Words("Try these:", "不妨试试：")
WELCOME_MORE = Words("/help lists all commands.", "发送 /help 查看全部命令。")

# --- messages that are not a command ----------------------------------------------------------------------

NOT_UNDERSTOOD = Words('Sorry, I don\'t know "{said}". ', "暂不支持“{said}”，")
DID_YOU_MEAN = Words("Did you mean /{name}?", "你是不是想发送 /{name}？")
TRY_HELP = Words("Try /help.", "发送 /help 查看可用命令。")
ONLY_TEXT = Words("Please send a command as text. Try /help.", "请用文字发送命令。发送 /help 查看可用命令。")

# --- `/permissions`, partly shared with its page ----------------------------------------------------------

NOTHING_AUTHORIZED = Words(en="You haven't authorized anything", zh="你还没有授权任何权限")
ASKED_WHEN_NEEDED = Words("I'll ask when a command needs a permission.", "有命令需要权限时，我会向你申请。")
AUTHORIZED_TITLE = Words("What you've authorized", "你的授权")
RENEWS = Words(
    en="Renewed automatically whenever you use a command; otherwise it expires {time}.",
    zh="每次使用命令时自动续期，否则将于{time} 过期。",
)
ENDS = Words(en="Expires {time}; after that, I'll ask again.", zh="{time} 过期，之后会再次请你授权。")
WAITING = Words("Waiting: {commands} (/cancel to drop)", "等待中：{commands}。发送 /cancel 可取消。")
SEE_USE = Words("See or revoke your permissions: ", "查看或撤销你的授权：")
MY_PERMISSIONS = Words("My permissions", "我的授权")
REVOKE_ALL = Words("/revoke takes everything back.", "发送 /revoke 可撤销全部授权。")

# --- `/authorize`, `/cancel`, `/revoke` -------------------------------------------------------------------

NO_SCOPE = Words("This isn't a scope: {scope}", "这不是权限标识：{scope}")
TOO_MANY_SCOPES = Words("At most {limit} scopes at a time.", "一次最多申请 {limit} 项权限。")
AUTHORIZED = Words("Authorized", "授权成功")

CONFIRM_SUMMARY = Words("confirm an old command that makes a change", "确认执行较早发送的命令")
CONFIRM_USAGE = Words("[CODE]", "[代码]")
CONFIRMED = Words("OK, running {command}.", "好的，正在执行 {command}。")
NOTHING_TO_CONFIRM = Words("Nothing is waiting for your confirmation.", "没有等待你确认的命令。")
WHICH_TO_CONFIRM = Words("Which one should I run?", "要执行哪一个？")
CANCEL_THE_REST = Words("/cancel drops everything that's waiting.", "发送 /cancel 可取消所有等待中的命令。")

CHECK_SUMMARY = Words("for administrators: check again for a permission", "供管理员使用：重新检查权限")
CHECKING = Words(
    "OK, I'm trying again. Waiting requests: {number}. Users who have to authorize once more get a new card.",
    "好的，正在重试。等待中的请求：{number} 个。需要再次授权的用户会收到新的卡片。",
)
NOTHING_TO_CHECK = Words("No request is waiting for a permission.", "没有等待开通权限的请求。")
ADMINISTRATORS_ONLY = Words("Only an administrator can do this.", "仅管理员可执行此操作。")

NOTHING_TO_CANCEL = Words("Nothing to cancel.", "没有等待中的命令。")
CANCELLED = Words("Cancelled: {commands}", "已取消：{commands}")

NOTHING_TO_REVOKE = Words(
    "Nothing to revoke: you haven't authorized anything.", "你没有授权任何权限，无需撤销。"
)
REVOKED_TITLE = Words("Revoked", "已撤销授权")
REVOKED = Words(
    "I no longer have access to your account, and I'm revoking the authorization at the platform too.",
    "我已无法访问你的账号，平台上的授权也会一并撤销。",
)
ASK_AGAIN = Words(
    "I'll ask again when a command needs a permission.",
    "下次有命令需要权限时，会重新请你授权。",
)
WHERE_TO_WITHDRAW = Words(
    "The platform may still list this app as authorized. You can remove it in your account's privacy settings.",
    "平台可能仍将此应用列为已授权，你可以在账号的隐私设置中移除。",
)
