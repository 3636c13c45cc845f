"""Words that only DingTalk needs."""

from __future__ import annotations

from collections.abc import Mapping

from bot.core.language import Words

WHERE_TO_WITHDRAW = Words(
    "DingTalk may still list this app as authorized. To remove it there, open Me > Settings > Security > Privacy > App "
    "authorizations.",
    "钉钉可能仍将此应用列为已授权。如需移除，请打开“我的 > 设置 > 安全中心 > 隐私 > 应用授权”。",
)

REVOKED = Words(
    "I no longer have access: your authorization and all tokens are deleted here.",
    "我已无法再访问：此处保存的授权和令牌均已删除。",
)

FAILED_TITLE = Words("DingTalk didn't authorize this", "钉钉未能完成授权")

FAILED_TEXT = Words(
    "Nothing was authorized. If DingTalk showed an error code, choose it here to see what to do.",
    "没有完成授权。如果钉钉显示了错误码，请在此选择，查看处理方法。",
)

CHOOSE_CODE = Words("Choose the error code…", "选择错误码……")

CLOSED_TITLE = Words("Not authorized yet", "尚未授权")

CLOSED_TEXT = Words(
    "The authorization panel was closed. Open it again, or authorize in a browser.",
    "授权面板已关闭。可以重新打开，或在浏览器中授权。",
)

TO_ADMINISTRATOR_TEXT = Words(
    "Your request was forwarded to an administrator. Come back here once it's approved.",
    "你的申请已转交管理员。通过后请重新打开此页面。",
)

TELL_OPERATORS = Words("Please tell the people who run this bot.", "请联系机器人的维护人员。")

TELL_DEVELOPERS = Words(
    "Please tell an administrator of this app: they add it in the developer console, under Permissions.",
    "请联系应用管理员，在开发者后台的“权限管理”中添加。",
)

TELL_ADMINISTRATOR = Words("Please ask your organization's administrator.", "请联系企业管理员。")

TRY_AGAIN = Words("Please try again.", "请重试。")


def with_advice(en: str, zh: str, advice: Words) -> Words:
    return Words(f"{en} {advice.en}", f"{zh}{advice.zh}")


PANEL_ERRORS: Mapping[int, Words] = {
    400001: with_advice("The request was empty.", "请求内容为空。", TELL_OPERATORS),
    400002: with_advice("The request was not valid.", "请求无效。", TELL_OPERATORS),
    400003: with_advice("The request was not valid.", "请求无效。", TELL_OPERATORS),
    400004: with_advice("The request was not valid.", "请求无效。", TELL_OPERATORS),
    400005: with_advice("The request was not valid.", "请求无效。", TELL_OPERATORS),
    400006: with_advice("The app's client ID is missing.", "缺少应用的 Client ID。", TELL_OPERATORS),
    400007: with_advice(
        "The organization is missing (DINGTALK_CORP_ID).", "缺少组织（DINGTALK_CORP_ID）。", TELL_OPERATORS
    ),
    400008: with_advice(
        "DingTalk doesn't know who you are. Sign in to DingTalk again.",
        "钉钉无法识别你的身份，请重新登录钉钉。",
        TRY_AGAIN,
    ),
    500101: with_advice(
        "DingTalk doesn't know this app (DINGTALK_CLIENT_ID).",
        "钉钉中没有此应用（DINGTALK_CLIENT_ID）。",
        TELL_OPERATORS,
    ),
    500102: with_advice("This app has no permissions at all.", "此应用没有任何权限。", TELL_DEVELOPERS),
    500103: with_advice("DingTalk couldn't read the app's information.", "钉钉无法读取应用信息。", TRY_AGAIN),
    500104: with_advice(
        "This app doesn't have this permission yet.", "此应用尚未添加该权限。", TELL_DEVELOPERS
    ),
    500105: with_advice(
        "DingTalk couldn't read the vendor's organization.", "钉钉无法读取服务商的组织信息。", TRY_AGAIN
    ),
    500201: with_advice(
        "DingTalk doesn't know one of these permissions.", "其中一项权限在钉钉中不存在。", TELL_OPERATORS
    ),
    500202: with_advice(
        "A field permission was requested as an API permission.",
        "字段权限被当作接口权限申请。",
        TELL_OPERATORS,
    ),
    500203: with_advice(
        "An API permission was requested as a field permission.",
        "接口权限被当作字段权限申请。",
        TELL_OPERATORS,
    ),
    500204: with_advice(
        "These permissions are for users, not for the whole organization.",
        "这些是个人权限，不能以组织名义授权。",
        TELL_OPERATORS,
    ),
    500205: with_advice(
        "These permissions are for the whole organization, so you can't grant them yourself.",
        "这些是应用权限，个人无法授权。",
        TELL_ADMINISTRATOR,
    ),
    500401: with_advice("DingTalk couldn't read your role.", "钉钉无法读取你的角色。", TRY_AGAIN),
    500402: with_advice("Only an administrator can grant this.", "只有管理员可以授权。", TELL_ADMINISTRATOR),
    500403: with_advice(
        "Your organization hasn't activated this app.", "你所在的组织尚未开通此应用。", TELL_ADMINISTRATOR
    ),
    500404: with_advice("DingTalk couldn't save your authorization.", "钉钉未能保存你的授权。", TRY_AGAIN),
}
"""What each error code of the client's authorization panel means, and who can help. Only the user sees the code: the page
learns only that the authorization failed."""
