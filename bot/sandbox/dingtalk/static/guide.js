// The suggested commands and the stories of the guide.

export const SUGGESTIONS = ["/me", "/task Book the venue", "/tasks", "/agenda", "/permissions", "/help"];

/**
 * Each story has a title, a text, the person to be, what to type, and optionally the chat and the panel to open.
 * `who` is the start of an English name, so that the guide does not depend on the ids of the sample people.
 */
export const STORIES = [
  { title: "First contact", who: "Sam", say: "/me",
    text: "Sam has allowed nothing yet. A card asks for exactly what /me needs: authorize, agree, and Sam's name and phone number arrive by themselves." },
  { title: "A second permission", who: "Wei", say: "/task 确认发布会场地",
    text: "The documentation's second example: a to-do needs Todo.Todo.Write. Wei Lan reads Chinese: cards, answers and the consent page follow." },
  { title: "Inside the client", who: "Sam", panel: "trouble", say: "/tasks",
    text: "Under Trouble, have links open in the client: the card's button shows a small page, which asks with openAuth in the client itself. The next command that needs more is refused with 403, and its card asks for what DingTalk names." },
  { title: "Every way it can end", who: "Sam", panel: "trouble", say: "/agenda",
    text: "With links in the client, the panel's “More results” shows each one: failed, closed, and every error code. Or fix one under Trouble." },
  { title: "Saying no", who: "Ada", say: "/tasks",
    text: "Press Refuse on the login page: nothing is stored. That proves nothing about who pressed it, so the request still waits; /cancel drops it." },
  { title: "The wrong person", who: "Ada", panel: "trouble", say: "/me",
    text: "Under Trouble, have another person signed in to DingTalk, then authorize. Nothing is stored, and Ada can still continue." },
  { title: "In a group", who: "Ada", chat: "group", say: "@Helper /me",
    text: "In a group the bot hears only what mentions it, and only Ada gets the link to authorize." },
  { title: "Another organization", who: "Niko", say: "/me",
    text: "Niko works elsewhere. DingTalk delivers no user id for Niko; the bot serves its own organization only, and says so." },
  { title: "My permissions", who: "Sam", say: "/permissions",
    text: "What Sam allowed, for which command, and the way to take it back. DingTalk itself tells no app what was granted." },
  { title: "The console", who: "Ada", say: "/permissions",
    text: "Ada is the app's administrator. Follow the link, sign in as Ada, and open Console at the foot of the page: who authorized what and how fast, what waits, what failed, and the story of each call." },
  { title: "Withdrawn at DingTalk", who: "Sam", panel: "trouble", say: "/me",
    text: "Withdraw everything (Trouble) and ask again: the token is still valid, DingTalk refuses with the same 403, and the bot asks again." },
  { title: "A consent that takes a moment", who: "Wei", panel: "trouble", say: "/tasks",
    text: "Let a consent take 3 seconds to spread (Trouble, The client), then authorize: the first try after it is refused, and the bot tries again before it says so." },
  { title: "The app lacks it", who: "Sam", panel: "trouble", say: "/agenda",
    text: "Switch Calendar.Event.Read off under Trouble. The 403 is the same as for a missing consent: Sam is asked once, then the administrator." },
  { title: "A token expires", who: "Sam", panel: "trouble", say: "/me",
    text: "Make Sam's access token expire and ask again: DingTalk answers 400 InvalidAuthentication, the token is refreshed, and Sam notices nothing." },
  { title: "The bot is killed", who: "Sam", panel: "trouble", say: "/tasks",
    text: "Ask for something, kill the bot while its card waits, start it again, then consent: nothing was lost." },
];
