// The page of one stream: the live part follows the collector, the charts follow the period.

import * as charts from "./charts.js";
import { fillSlots, fillState, follow, localise, setText, setTime, swapPicture } from "./live.js";

const page = document.getElementById("stream");
const { site, device, stream } = page.dataset;
const secondsOf = { s: 1, m: 60, h: 3600, d: 86400 };
const periodMs = Number(page.dataset.seconds) * 1000;
const every = page.dataset.every;
const everyMs = Number(every.slice(0, -1)) * secondsOf[every.slice(-1)] * 1000;
const vitalsEvery = page.dataset.vitalsEvery;
// A chart of a month need not be drawn anew each second.
const REDRAW_MS = Math.min(60_000, Math.max(5000, everyMs / 6));

const SVG = "http://www.w3.org/2000/svg";

function rectangle(box, name) {
  const rect = document.createElementNS(SVG, "rect");
  if (name) rect.setAttribute("class", name);
  for (const key of ["x", "y", "width", "height"]) rect.setAttribute(key, box[key]);
  return rect;
}

function label(box) {
  const tag = document.createElement("span");
  tag.textContent = box.label;
  // Through the style object: the page's policy allows no style attributes.
  if (box.x < 0.6) tag.style.left = `${box.x * 100}%`;
  else tag.style.right = `${(1 - box.x - box.width) * 100}%`;
  if (box.y > 0.08) tag.style.bottom = `${(1 - box.y) * 100}%`;
  else tag.style.top = `${box.y * 100}%`;
  return tag;
}

function drawBoxes(boxes) {
  document.getElementById("boxes").replaceChildren(
    ...boxes.flatMap((box) => [rectangle(box, "edge"), rectangle(box, "")]),
  );
  document.getElementById("labels").replaceChildren(...boxes.map(label));
}

function showPicture(view) {
  page.querySelector("[data-slot-nopicture]").hidden = Boolean(view.picture);
  const taken = page.querySelector("[data-slot-taken]");
  taken.hidden = !view.picture;
  if (!view.picture) {
    drawBoxes([]);
    return;
  }
  setTime(taken.querySelector("time"), view.picture.at);
  // Boxes change together with their picture, never before it.
  swapPicture(page.querySelector("[data-slot-picture]"), view.picture.src, `Last picture of ${view.name}`)
    .then(() => drawBoxes(view.boxes));
}

function cell(kind, text, name) {
  const element = document.createElement(kind);
  element.textContent = text;
  if (name) element.className = name;
  return element;
}

function showLedger(ledger) {
  document.getElementById("ledger").dataset.state = ledger.state;
  document.getElementById("ledger-rows").replaceChildren(...ledger.rows.map(([name, value]) => {
    const row = document.createElement("tr");
    const head = cell("th", name);
    head.scope = "row";
    row.append(head, cell("td", value, "n"));
    return row;
  }));
}

function showEvents(events) {
  const list = document.getElementById("events");
  if (!events.length) {
    list.replaceChildren(cell("li", "Nothing in this period.", "nothing"));
    return;
  }
  list.replaceChildren(...events.map((event) => {
    const item = document.createElement("li");
    const time = document.createElement("time");
    time.dataset.style = "clock";
    setTime(time, event.at);
    item.append(time, cell("span", event.text));
    return item;
  }));
}

function show(view) {
  document.title = `${view.word}: ${view.name} · Vigie`;
  fillState(page, view);
  fillSlots(page, view);
  fillSlots(page, view.figures);
  showPicture(view);
  showLedger(view.ledger);
  showEvents(view.events);
}

const plotOf = (name) => page.querySelector(`[data-chart="${name}"]`);

function draw(name, traces, layout, drawn) {
  const plot = plotOf(name);
  const empty = plot.querySelector(".none");
  if (!traces.some((trace) => (trace.orientation === "h" ? trace.x : trace.y).some((value) => value !== null))) {
    if (empty) setText(empty, "Nothing in this period");
    return;
  }
  if (empty) empty.remove();
  drawn.push(Plotly.react(plot, traces, layout, charts.CONFIG));
}

async function get(path, parameters) {
  const answer = await fetch(`${path}?${new URLSearchParams(parameters)}`);
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  return answer.json();
}

let latest = null;

function drawAll() {
  const { rows, total, vitals, from, to } = latest;
  const all = charts.slots(rows, from, to, everyMs);
  const range = [new Date(from).toISOString(), new Date(to).toISOString()];
  const totals = total?.classes ?? [];
  const percentAxis = { yaxis: { range: [0, 100], ticksuffix: " %" }, rest: { showlegend: false } };
  const drawn = [];
  draw("outcomes", charts.outcomes(all, everyMs), charts.layout(range), drawn);
  draw("response", charts.response(all), charts.layout(range, { yaxis: { ticksuffix: " ms" } }), drawn);
  draw("none", charts.none(all), charts.layout(range, percentAxis), drawn);
  draw("classes", charts.classes(all, totals, everyMs), charts.layout(range), drawn);
  draw("class-totals", charts.classTotals(totals),
    charts.layout(null, { rest: { showlegend: false, hovermode: false, bargap: 0.3 }, yaxis: { type: "category", showgrid: false, nticks: 0 } }), drawn);
  draw("scores", charts.scores(total?.histograms?.score ?? { edges: [], counts: [] }),
    charts.layout(null, { xaxis: { range: [0, 1], nticks: 6 }, rest: { showlegend: false, hovermode: "closest" } }), drawn);
  draw("vitals", charts.vitals(vitals), charts.layout(range, { yaxis: { rangemode: "tozero" } }), drawn);
  return Promise.all(drawn);
}

async function refresh() {
  const to = Date.now();
  // From a whole step on: half a bar at the left would look like a slow start.
  const from = Math.floor((to - periodMs) / everyMs) * everyMs;
  const scope = { site, device, stream };
  const period = { from: new Date(from).toISOString(), to: new Date(to).toISOString() };
  try {
    const [series, whole, health] = await Promise.all([
      get("/api/v1/summary", { ...scope, ...period, every }),
      get("/api/v1/summary", { ...scope, ...period, histograms: "true" }),
      get("/api/v1/vitals", { site, device, ...period, every: vitalsEvery }),
    ]);
    latest = { rows: series.rows, total: whole.rows[0] ?? null, vitals: health.vitals.reverse(), from, to };
    await drawAll();
    page.dataset.drawn = String(to); // for whoever waits for the charts, such as a test
  } catch {
    // The live part says when the collector is gone; the charts keep what they have.
  } finally {
    setTimeout(refresh, document.hidden ? REDRAW_MS * 5 : REDRAW_MS);
  }
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  if (latest) drawAll();
});

// A chart keeps the width it was drawn at, but the page gets a scrollbar, and windows are made narrower.
const sizes = new ResizeObserver((changes) => {
  for (const { target } of changes) {
    if (target.querySelector(".main-svg")) Plotly.Plots.resize(target).catch(() => {}); // not while it is hidden
  }
});
for (const plot of page.querySelectorAll(".plot")) sizes.observe(plot);

localise(page);
follow(page.dataset.view, show);
refresh();
