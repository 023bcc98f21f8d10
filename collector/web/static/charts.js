// Rows of the API's summary and vitals into plotly traces. Pure: no requests, no page besides its colours.

const OUTCOMES = [
  ["ok", "looked at"], ["failed", "failed"], ["unreadable", "unreadable"], ["gated", "still scene"], ["skipped", "skipped"],
];
const CLASSES_SHOWN = 7;

const style = () => getComputedStyle(document.documentElement);
const token = (name) => style().getPropertyValue(name).trim();

/** plotly shows times as they are written: write them in the browser's zone. */
function local(iso) {
  const at = new Date(iso);
  const two = (n) => String(n).padStart(2, "0");
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} `
    + `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
}

/** Names come from devices: plotly reads a few tags in texts, so angle brackets and ampersands are written out. */
const plain = (name) => String(name).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

/** Dots only where a line would have nothing to connect: a step between two gaps. */
const dots = (y) => ({ size: y.map((value, i) => ((y[i - 1] ?? null) === null && (y[i + 1] ?? null) === null ? 5 : 0)) });

const percent = (share) => (share === null || share === undefined ? null : share * 100);
const sum = (values) => values.reduce((a, b) => a + b, 0);

/** One slot per bucket of the period, so that a gap in the data is a gap in the chart. */
export function slots(rows, fromMs, toMs, everyMs) {
  const byStart = new Map(rows.map((row) => [Date.parse(row.time), row]));
  const first = Math.floor(fromMs / everyMs) * everyMs;
  const all = [];
  for (let at = first; at < toMs; at += everyMs) {
    all.push({ iso: new Date(at).toISOString(), row: byStart.get(at) ?? null });
  }
  return all;
}

function perSecond(all, outcome, everyMs) {
  return all.map(({ row }, index) => {
    if (!row) return null;
    // The newest bucket is not over, and a window may be longer than a bucket: then the time covered says more.
    const seconds = index === all.length - 1 ? row.covered_s : Math.max(everyMs / 1000, row.covered_s);
    return seconds ? (row.outcomes[outcome] ?? 0) / seconds : null;
  });
}

export function outcomes(all, everyMs) {
  const x = all.map(({ iso }) => local(iso));
  const present = OUTCOMES.filter(([name]) => name === "ok" || all.some(({ row }) => row?.outcomes[name]));
  return present.map(([name, label]) => ({
    type: "bar", name: label, x, y: perSecond(all, name, everyMs), width: everyMs,
    marker: { color: token(`--o-${name}`) }, hovertemplate: "%{y:.2f}/s",
  }));
}

export function response(all) {
  const x = all.map(({ iso }) => local(iso));
  const lines = [["p50", "--soft", "median", "solid"], ["p95", "--c1", "p95", "solid"], ["p99", "--c1", "p99", "dot"]];
  return lines.map(([name, colour, label, dash]) => {
    const y = all.map(({ row }) => row?.response_ms?.[name] ?? null);
    return {
      type: "scatter", mode: "lines+markers", name: label, x, y, line: { color: token(colour), width: 2, dash },
      marker: dots(y), hovertemplate: "%{y:.1f} ms",
    };
  });
}

export function none(all) {
  const y = all.map(({ row }) => percent(row?.without_detection.share));
  return [{
    type: "scatter", mode: "lines+markers", name: "no detection", x: all.map(({ iso }) => local(iso)), y,
    line: { color: token("--c1"), width: 2 }, marker: dots(y), hovertemplate: "%{y:.1f} %",
  }];
}

/** The most frequent classes by name, the rest as one. */
function leading(total) {
  const names = total.map((entry) => entry.class);
  return names.length <= CLASSES_SHOWN + 1 ? names : names.slice(0, CLASSES_SHOWN);
}

const colourOf = (index) => token(index < 8 ? `--c${index + 1}` : "--line-strong");

const counted = (row, wanted) => sum((row?.classes ?? []).filter(wanted).map((entry) => entry.detections));

export function classes(all, total, everyMs) {
  const x = all.map(({ iso }) => local(iso));
  const shown = leading(total);
  const traces = shown.map((name, index) => ({
    type: "bar", name: plain(name), x, y: all.map(({ row }) => row && counted(row, (entry) => entry.class === name)),
    width: everyMs, marker: { color: colourOf(index) }, hovertemplate: "%{y:,}",
  }));
  if (shown.length < total.length) {
    traces.push({
      type: "bar", name: "others", x, y: all.map(({ row }) => row && counted(row, (entry) => !shown.includes(entry.class))),
      width: everyMs, marker: { color: token("--line-strong") }, hovertemplate: "%{y:,}",
    });
  }
  return traces;
}

export function classTotals(total) {
  const shown = leading(total);
  const rest = sum(total.filter((entry) => !shown.includes(entry.class)).map((entry) => entry.detections));
  const bars = shown.map((name, index) => [plain(name), total[index].detections, colourOf(index)]);
  if (rest) bars.push(["others", rest, token("--line-strong")]);
  bars.reverse(); // plotly draws the first at the bottom
  return [{
    type: "bar", orientation: "h", y: bars.map(([name]) => name), x: bars.map(([, count]) => count),
    marker: { color: bars.map(([, , colour]) => colour) }, text: bars.map(([, count]) => count.toLocaleString()),
    textposition: "auto", cliponaxis: false, hoverinfo: "skip",
  }];
}

export function scores(histogram) {
  const { edges, counts } = histogram;
  const bins = counts.map((count, i) => ({ count, low: edges[i], high: edges[i + 1] }));
  return [{
    type: "bar", x: bins.map(({ low, high }) => (low + high) / 2), y: counts,
    width: bins.map(({ low, high }) => (high - low) * 0.92), marker: { color: token("--c1") },
    customdata: bins.map(({ low, high }) => `${low.toFixed(2)} to ${high.toFixed(2)}`),
    hovertemplate: "%{customdata}: %{y:,}<extra></extra>",
  }];
}

export function vitals(rows) {
  const x = rows.map((row) => local(row.at));
  const lines = [
    ["cpu_percent", "processor %", "--c1"], ["memory_percent", "memory %", "--c3"], ["temperature_c", "temperature °C", "--c2"],
  ];
  return lines.filter(([name]) => rows.some((row) => typeof row[name] === "number")).map(([name, label, colour]) => ({
    type: "scatter", mode: "lines", name: label, x, y: rows.map((row) => row[name] ?? null),
    line: { color: token(colour), width: 2 }, hovertemplate: "%{y:.0f}",
  }));
}

export const CONFIG = { displayModeBar: false, responsive: false, scrollZoom: false, doubleClick: false };

export function layout(range, extra = {}) {
  const axis = {
    gridcolor: token("--line"), linecolor: token("--line-strong"), zerolinecolor: token("--line"), fixedrange: true,
    automargin: true, tickfont: { size: 12 },
  };
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", barmode: "stack", bargap: 0, dragmode: false,
    font: { family: style().getPropertyValue("--font"), color: token("--soft"), size: 12 },
    margin: { l: 44, r: 8, t: 8, b: 28 }, hovermode: "x unified", showlegend: true,
    legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", font: { size: 12 }, traceorder: "normal", itemclick: false, itemdoubleclick: false },
    hoverlabel: { bgcolor: token("--sheet"), bordercolor: token("--line-strong"), font: { color: token("--ink"), size: 12 } },
    xaxis: { ...axis, showgrid: false, ...(range ? { type: "date", range: range.map(local), nticks: 6, hoverformat: "%d %b %H:%M" } : {}), ...extra.xaxis },
    yaxis: { ...axis, rangemode: "tozero", nticks: 5, ...extra.yaxis },
    ...extra.rest,
  };
}
