// The suggested commands and the stories of the guide.

export const SUGGESTIONS = ["/doc welcome", "/agenda", "/tasks", "/task Book the venue", "/search launch", "/me", "/permissions", "/help"];

/**
 * Each story has a title, a text, the person to be, what to type, and optionally the chat and the panel to open.
 * `who` is the start of an English name, so that the guide does not depend on the ids of the sample people.
 */
export const STORIES = [
  { title: "First contact", who: "Sam", say: "/doc welcome",
    text: "Sam has allowed nothing yet. A card asks for exactly what the document needs: authorize, allow, and its text arrives by itself." },
  { title: "A second permission", who: "Sam", say: "/agenda",
    text: "The platform refuses the calendar. The card asks only for what is new; what was allowed before stays." },
  { title: "Saying no", who: "Sam", say: "/tasks",
    text: "Press “Not now” on the card: the command is dropped, and the card says so. Refuse on the consent page proves nothing about who pressed it: the card says so, and still waits." },
  { title: "The wrong person", who: "Sam", say: "/search launch",
    text: "On the consent page switch to another account and allow. Nothing is stored, and Sam can still go on." },
  { title: "In a group", who: "Ada", chat: "group", say: "@Helper /doc welcome",
    text: "The document is answered in the group. What is only Ada's, like /agenda, and the card that asks for her permission, only Ada sees." },
  { title: "In Chinese", who: "Wei", say: "/doc welcome",
    text: "Wei Lan reads Chinese: cards, answers and the consent page follow." },
  { title: "Another organization", who: "Niko", say: "/me",
    text: "Niko works elsewhere. The bot serves the organization that installed it, tells Niko so once, and does nothing in his name." },
  { title: "Inside the client", who: "Sam", panel: "trouble", say: "/search launch",
    text: "Under Trouble, have links open in the client: the card's button shows a small page, which asks in the client itself. An old client goes on to the platform's page." },
  { title: "My permissions", who: "Sam", say: "/permissions",
    text: "Follow the link in the answer and sign in: what Sam allowed, for which command, until when, and the way to take it back. Inside the client it needs no login." },
  { title: "The console", who: "Ada", say: "/permissions",
    text: "Ada is the app's administrator. Follow the link, sign in as Ada, and open Console at the foot of the page: who authorized what and how fast, what waits, what failed, and the story of each call." },
  { title: "A session ends", who: "Sam", panel: "trouble", say: "/permissions",
    text: "With My permissions open in another tab, let 2 hours pass for everybody (Trouble, Time) and load it again: it asks to sign in." },
  { title: "A token expires", who: "Sam", panel: "trouble", say: "/agenda",
    text: "Make Sam's access token expire and ask again: it is refreshed, and Sam notices nothing. Without the refresh token the bot has to ask." },
  { title: "A card expires", who: "Sam", panel: "trouble", say: "/tasks",
    text: "Give calls 30 seconds to wait (Trouble, The bot), leave a card alone, and see it change." },
  { title: "A late change", who: "Sam", panel: "trouble", say: "/task Pay the invoice",
    text: "Leave the card alone, let 2 hours pass for everybody (Trouble, Time), then authorize: before it changes anything that was asked for so long ago, the bot asks." },
  { title: "Unused permissions", who: "Sam", panel: "trouble", say: "/tasks",
    text: "Let refresh tokens live a year (Trouble, Time), allow two commands, and let 61 days pass for everybody. At the next use of one, the bot offers to give back the other's permission." },
  { title: "The app lacks it", who: "Sam", panel: "trouble", say: "/call GET /open-apis/mail/v1/user_mailboxes/me/messages?page_size=5",
    text: "Nobody may grant what the app has not enabled. Ada, the administrator, is told; switch the permission on under Trouble and Sam's card comes." },
  { title: "The bot is killed", who: "Sam", panel: "trouble", say: "/tasks",
    text: "Ask for something, kill the bot while its card waits, start it again, then consent: nothing was lost." },
];
