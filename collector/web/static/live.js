// Keeps a page in step with the collector: polls with entity tags, fills slots, says when contact is lost.
// Data goes into the page as text and attributes only, never as markup.

const EVERY_MS = 2000;
const PATIENCE_MS = 5000; // an answer that takes longer counts as none
const LOST_AFTER = 2; // failures in a row: one alone may be a phone changing networks

const ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone;

const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const MINUTE = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const DAY = new Intl.DateTimeFormat(undefined, {
  day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23",
});
const FULL = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium", hourCycle: "h23" });

const sameDay = (a, b) => a.toDateString() === b.toDateString();

/** A time in the browser's zone, as short as it stays clear. */
export function shown(iso, style) {
  if (!iso) return "";
  const at = new Date(iso);
  if (style === "full") return FULL.format(at);
  const today = sameDay(at, new Date());
  if (!today) return DAY.format(at);
  return style === "since" ? MINUTE.format(at) : CLOCK.format(at);
}

export function setTime(element, iso) {
  element.dateTime = iso || "";
  element.title = iso ? `${FULL.format(new Date(iso))} (${ZONE})` : "";
  setText(element, shown(iso, element.dataset.style));
}

/** Write text only where it changed, so that a reader's selection and a screen reader are left in peace. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function localise(root = document) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    if (time.getAttribute("datetime")) setTime(time, time.getAttribute("datetime"));
  }
}

export function fillSlots(root, item) {
  for (const slot of root.querySelectorAll("[data-slot]")) {
    if (slot.dataset.slot in item) setText(slot, item[slot.dataset.slot]);
  }
}

export function fillState(root, item) {
  for (const state of root.querySelectorAll("[data-slot-state]")) {
    state.dataset.state = item.state;
    fillSlots(state, item);
    const since = state.querySelector("[data-slot-since]");
    since.hidden = !item.since;
    setTime(since.querySelector("time"), item.since);
  }
}

/** Show a picture once it has loaded, so that nothing flickers. */
export function swapPicture(image, source, alt) {
  image.alt = alt;
  if (image.dataset.wanted === source || image.getAttribute("src") === source) return Promise.resolve();
  image.dataset.wanted = source;
  const next = new Image();
  next.src = source;
  return next.decode().then(() => {
    if (image.dataset.wanted === source) {
      image.src = source;
      image.hidden = false;
    }
  }, () => {
    delete image.dataset.wanted; // it may have been replaced meanwhile: the next poll names another
  });
}

/** Ask `url` again and again; `show` gets each new answer. */
export function follow(url, show) {
  let tag = null;
  let failures = 0;
  let heard = new Date();
  let timer = 0;

  async function ask() {
    clearTimeout(timer);
    const given = new AbortController();
    const limit = setTimeout(() => given.abort(), PATIENCE_MS);
    try {
      const headers = tag ? { "If-None-Match": tag } : {};
      const answer = await fetch(url, { headers, cache: "no-store", signal: given.signal });
      if (answer.status !== 304) {
        if (!answer.ok) throw new Error(`status ${answer.status}`);
        show(await answer.json());
        tag = answer.headers.get("ETag");
      }
      failures = 0;
      heard = new Date();
      found(heard);
    } catch {
      failures += 1;
      if (failures >= LOST_AFTER) lost(heard);
    } finally {
      clearTimeout(limit);
      timer = setTimeout(ask, document.hidden ? EVERY_MS * 10 : EVERY_MS);
    }
  }

  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) ask();
  });
  ask();
}

function found(at) {
  document.getElementById("lost").hidden = true;
  delete document.body.dataset.stale;
  setText(document.getElementById("contact"), `Live, ${CLOCK.format(at)}`);
}

function lost(since) {
  const bar = document.getElementById("lost");
  setText(document.getElementById("lost-text"),
    `No contact with the collector since ${CLOCK.format(since)}. What you see is from then.`);
  bar.hidden = false;
  document.body.dataset.stale = "";
  setText(document.getElementById("contact"), "No contact");
}

const short = new Intl.DateTimeFormat(undefined, { timeZoneName: "short" })
  .formatToParts(new Date()).find((part) => part.type === "timeZoneName");
setText(document.getElementById("zone"), `Times are ${ZONE}${short && short.value !== ZONE ? ` (${short.value})` : ""}`);
localise();
