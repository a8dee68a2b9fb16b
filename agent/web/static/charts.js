// The charts: which figures stand together, fetched while they are looked at.

import { byId, el, say } from "./dom.js";
import { span } from "./format.js";
import { get } from "./api.js";
import { Poll } from "./poll.js";
import { Chart } from "./chart.js";

/** A chart takes the series of its key, `key.<name>` each, or the one that is the key itself. */
const KINDS = [
  { key: "fps", title: "Frames a second, by camera", unit: "fps", digits: 1 },
  { key: "latency_p95_ms", title: "Latency (p95), by pipeline", unit: "ms", digits: 1 },
  { key: "temperature_c", title: "Temperature", unit: "°C", digits: 1 },
  { key: "cpu_percent", title: "Processor", unit: "%", digits: 0, within: [0, 100] },
  { key: "memory_mb", title: "Memory", unit: "MB", digits: 0 },
];

export function chartsView(device) {
  const root = byId("charts");
  const charts = new Map();

  async function look(signal) {
    const history = await get("/api/history", signal);
    const { at, series } = history;
    const length = at.length > 1 ? (Date.parse(at.at(-1)) - Date.parse(at[0])) / 1000 : 0;
    say(byId("charts-span"), length ? `the last ${span(length)}, a point every ${history.every_s} s` : "");
    const shown = KINDS.filter((kind) => take(kind, at, series));
    if (root.childElementCount !== shown.length || root.firstElementChild.matches(".empty")) {
      const nothing = el(
        "p",
        { class: "empty" },
        `No figures yet: one is kept every ${history.every_s} s while the page is enabled.`,
      );
      root.replaceChildren(...(shown.length ? shown.map((kind) => charts.get(kind.key).root) : [nothing]));
    }
  }

  /** Hand a chart its figures; false where this device has none of the kind. */
  function take(kind, at, series) {
    const mine = Object.entries(series)
      .filter(
        ([name, values]) =>
          (name === kind.key || name.startsWith(`${kind.key}.`)) && values.some((value) => value !== null),
      )
      .map(([name, values]) => ({ name: name.slice(kind.key.length + 1) || "now", values }));
    if (!mine.length) return false;
    if (!charts.has(kind.key)) charts.set(kind.key, new Chart(kind));
    charts.get(kind.key).update(at, mine);
    return true;
  }

  const poll = new Poll(look, 10);
  device.addEventListener("back", () => poll.now());
  return { shown: () => poll.start(), hidden: () => poll.stop() };
}
