// The page's copy of the platform's state, updated by the stream of changes. No DOM here.

const LANGUAGES = { zh: "zh_cn", en: "en_us" };

/** Returns the faults that can still apply: a limited one ends after its number of times. */
const active = (faults) => faults.filter((fault) => fault.times === null || fault.struck < fault.times);

export function createModel(state) {
  const unread = new Map();
  const key = (openId, chatId) => `${openId} ${chatId}`;

  const model = {
    app: state.app,
    people: state.people,
    chats: state.chats,
    messages: new Map(state.messages.map((message) => [message.message_id, message])),
    faults: active(state.faults),
    sequence: state.sequence,
    viewer: state.people[0].open_id,
    chat: null,

    get language() {
      return LANGUAGES[(model.person(model.viewer)?.locale ?? "en").slice(0, 2)] ?? "en_us";
    },
    person: (openId) => model.people.find((person) => person.open_id === openId),
    personNamed: (start) => model.people.find((person) => person.en_name.startsWith(start)),
    /** The person's chats with the bot. Direct chats between two people are omitted. */
    chatsOf: (openId) => model.chats.filter((chat) => chat.members.includes(openId) && (chat.kind === "group" || chat.members.length === 1)),
    currentChat: () => model.chats.find((chat) => chat.chat_id === model.chat),
    directChat: (openId) => model.chatsOf(openId).find((chat) => chat.kind === "p2p"),

    /** Whether this person sees the message. */
    sees: (message, openId) =>
      (message.ephemeral_for === null || message.ephemeral_for === undefined || message.ephemeral_for === openId)
      && !(message.ephemeral_for && message.recalled)
      && Boolean(model.chats.find((chat) => chat.chat_id === message.chat_id)?.members.includes(openId)),
    isVisible: (message) => message.chat_id === model.chat && model.sees(message, model.viewer),
    visibleMessages: () => [...model.messages.values()].filter(model.isVisible).sort((a, b) => a.created_at - b.created_at),

    unreadOf: (openId, chatId) => {
      const chats = chatId ? [chatId] : model.chatsOf(openId).map((chat) => chat.chat_id);
      return chats.reduce((sum, id) => sum + (unread.get(key(openId, id))?.size ?? 0), 0);
    },
    markRead: () => unread.delete(key(model.viewer, model.chat)),

    /** Adds or replaces a message; a new one by the bot becomes unread for everyone who sees it. */
    put: (message, isNew) => {
      model.messages.set(message.message_id, message);
      if (!isNew || message.sender.type !== "bot") return;
      const chat = model.chats.find((entry) => entry.chat_id === message.chat_id);
      for (const member of chat?.members ?? []) {
        if (!model.sees(message, member)) continue;
        const name = key(member, message.chat_id);
        unread.set(name, (unread.get(name) ?? new Set()).add(message.message_id));
      }
    },
    recall: (messageId) => {
      const message = model.messages.get(messageId);
      if (message) message.recalled = true;
      return message;
    },
    /** Replaces what the stream does not carry in full: scopes, grants, faults, people, chats. */
    refresh: (fresh) => {
      model.app = fresh.app;
      model.people = fresh.people;
      model.chats = fresh.chats;
      model.faults = active(fresh.faults);
    },
  };
  return model;
}
