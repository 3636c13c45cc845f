// The left column: people, their chats with unread marks, and the guide.

import { avatar, botAvatar, byId, el, groupAvatar, icon } from "./dom.js";
import { STORIES } from "../platform.js";

const badge = (count) => (count ? el("span", { class: "badge" }, count > 99 ? "99+" : String(count), el("span", { class: "visually-hidden" }, " unread")) : null);

function row({ picture, title, subtitle, current, unread, label, choose }) {
  return el("li", {}, el("button", { class: "row", type: "button", "aria-current": current ? "true" : null, "aria-label": label, onclick: choose },
    picture,
    el("span", { class: "row-words" }, el("span", { class: "row-title" }, title), el("span", { class: "row-subtitle" }, subtitle)),
    badge(unread)));
}

export const bothNames = (person) =>
  person.en_name && person.en_name !== person.name ? `${person.en_name} ${person.name}` : person.name;

export function renderPeople(model, choose) {
  byId("people").replaceChildren(...model.people.map((person) => row({
    picture: avatar(person),
    title: bothNames(person),
    subtitle: [person.role, person.locale.startsWith("zh") ? "中文" : null].filter(Boolean).join(" · ") || "English",
    current: person.open_id === model.viewer,
    unread: person.open_id === model.viewer ? 0 : model.unreadOf(person.open_id),
    choose: () => choose(person.open_id),
  })));
}

export function renderChats(model, choose) {
  byId("chats").replaceChildren(...model.chatsOf(model.viewer).map((chat) => row({
    picture: chat.kind === "group" ? groupAvatar() : botAvatar(),
    title: chat.kind === "group" ? chat.name : model.app.name,
    subtitle: chat.kind === "group" ? `Group · ${chat.members.length} people and ${model.app.name}` : "Direct chat",
    current: chat.chat_id === model.chat,
    unread: chat.chat_id === model.chat ? 0 : model.unreadOf(model.viewer, chat.chat_id),
    choose: () => choose(chat.chat_id),
  })));
}

export function renderGuide(start) {
  byId("guide").replaceChildren(...STORIES.map((story, number) => el("li", {},
    el("details", { name: "guide", open: number === 0 },
      el("summary", {}, el("span", { class: "guide-number" }, String(number + 1)), el("span", {}, story.title), icon("chevron")),
      el("div", { class: "guide-body" },
        el("p", {}, story.text),
        el("p", {}, el("code", {}, story.say)),
        el("button", { class: "button small", type: "button", onclick: () => start(story) }, `Try it as ${story.who}`))))));
}
