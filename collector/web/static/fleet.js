// The fleet page: one card per stream, kept in the server's order.

import { fillSlots, fillState, follow, setTime, swapPicture } from "./live.js";

const list = document.getElementById("fleet");
const verdict = document.getElementById("verdict");
const trouble = document.getElementById("trouble");
const reasonList = document.getElementById("reasons");
const template = document.getElementById("card");

function cardFor(item) {
  for (const card of list.children) {
    if (card.dataset.key === item.key) return card;
  }
  const card = template.content.firstElementChild.cloneNode(true);
  card.dataset.key = item.key;
  return card;
}

function fill(card, item) {
  card.dataset.state = item.state;
  fillState(card, item);
  fillSlots(card, item);
  card.querySelector("[data-slot-href]").setAttribute("href", item.href);
  card.querySelector("[data-slot-line]").setAttribute("d", item.spark);
  card.querySelector("[data-slot-nopicture]").hidden = Boolean(item.picture);
  const taken = card.querySelector("[data-slot-taken]");
  taken.hidden = !item.picture;
  if (item.picture) {
    setTime(taken.querySelector("time"), item.picture.at);
    swapPicture(card.querySelector("[data-slot-picture]"), item.picture.src, `Last picture of ${item.name}`);
  }
}

/** What keeps the collector itself from its work; drawn anew only where it changed, for screen readers' sake. */
function showTrouble(reasons) {
  const told = [...reasonList.children].map((item) => item.textContent);
  trouble.hidden = !reasons.length;
  if (told.length === reasons.length && told.every((text, index) => text === reasons[index])) return;
  reasonList.replaceChildren(...reasons.map((reason) => {
    const item = document.createElement("li");
    item.textContent = reason;
    return item;
  }));
}

function show(view) {
  verdict.dataset.state = view.verdict.state;
  fillSlots(verdict, view.verdict);
  document.title = `${view.verdict.text} · Vigie`;
  showTrouble(view.trouble);
  document.getElementById("empty").hidden = view.cards.length > 0;
  const wanted = new Set(view.cards.map((item) => item.key));
  for (const card of [...list.children]) {
    if (!wanted.has(card.dataset.key)) card.remove();
  }
  view.cards.forEach((item, index) => {
    const card = cardFor(item);
    fill(card, item);
    // Moved only when the order changed: moving takes the keyboard's focus away.
    if (list.children[index] !== card) list.insertBefore(card, list.children[index] ?? null);
  });
}

follow(list.dataset.view, show);
