// The log: what was kept and what comes, in one stream, filtered by the device; a bounded number of lines.

import { byId, el, say } from "./dom.js";
import { clock, count, moment, plain } from "./format.js";
import { ask, get } from "./api.js";

const MOST = 500;
const BACKLOG = 200;
const SETTLE_MS = 400;
const NEAR_END_PX = 40;
const OWN = new Set(["v", "at", "level", "event", "part", "child"]);

export function logsView(device) {
  const form = byId("logs-form");
  const list = byId("lines");
  const follow = byId("logs-follow");
  const newest = byId("logs-newest");
  const parts = new Set();
  let shown = false;
  let follows = true;
  let source = null;
  let settling = null;
  let waiting = [];
  let dropped = 0;

  function question() {
    const filled = new FormData(form);
    return { level: filled.get("level"), part: filled.get("part").trim(), grep: filled.get("grep").trim() };
  }

  /** Follow while the view shows in a tab that shows; the lines that are there stay. */
  function turn() {
    if (shown && follows && !document.hidden && device.lostAt === null) {
      if (source === null) begin();
    } else end();
  }

  function end() {
    source?.close();
    source = null;
  }

  /** Begin anew: the stream brings what was kept, then what comes, without a gap. */
  function begin() {
    end();
    source = new EventSource(ask("/api/logs/follow", { lines: BACKLOG, ...question() }));
    source.addEventListener("open", empty);
    source.addEventListener("message", (event) => queue(JSON.parse(event.data)));
    source.addEventListener("dropped", (event) => (dropped += Number(event.data)));
    source.addEventListener("error", refused);
  }

  function empty() {
    list.replaceChildren();
    waiting = [];
    dropped = 0;
    newest.hidden = true;
    tell();
  }

  /** A stream that is refused does not say why: ask. */
  async function refused(event) {
    if (event.target.readyState !== EventSource.CLOSED || event.target !== source) return;
    try {
      await get(ask("/api/logs", { lines: 0, ...question() }));
    } catch (error) {
      if (event.target === source) list.replaceChildren(el("p", { class: "empty" }, error.message));
    }
  }

  /** Lines that come together are shown together. */
  function queue(line) {
    waiting.push(line);
    if (waiting.length === 1) requestAnimationFrame(add);
  }

  function add() {
    const lines = waiting.splice(0).slice(-MOST);
    const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < NEAR_END_PX;
    list.append(...lines.map(entry));
    while (list.childElementCount > MOST) list.firstElementChild.remove();
    for (const line of lines) offer(line);
    tell();
    if (atEnd) toNewest();
    else newest.hidden = false;
  }

  function tell() {
    say(byId("logs-count"), count(list.childElementCount, "line") + (dropped ? `, ${dropped} left out` : ""));
  }

  /** Offer the parts that were seen as what may be asked for. */
  function offer(line) {
    for (const part of [line.part, line.child]) {
      if (!part || parts.has(part)) continue;
      parts.add(part);
      byId("parts").append(el("option", { value: part }));
    }
  }

  function toNewest() {
    list.scrollTop = list.scrollHeight;
    newest.hidden = true;
  }

  function asked() {
    clearTimeout(settling);
    settling = setTimeout(() => {
      if (!follows) follow.click();
      else if (shown) begin();
    }, SETTLE_MS);
  }

  follow.addEventListener("click", () => {
    follows = !follows;
    follow.setAttribute("aria-pressed", follows);
    say(follow, follows ? "Following" : "Paused");
    turn();
  });
  form.addEventListener("input", asked);
  form.addEventListener("submit", (event) => event.preventDefault());
  newest.addEventListener("click", toNewest);
  list.addEventListener("scroll", () => {
    if (list.scrollHeight - list.scrollTop - list.clientHeight < NEAR_END_PX) newest.hidden = true;
  });
  document.addEventListener("visibilitychange", turn);
  device.addEventListener("lost", turn);
  device.addEventListener("back", () => {
    end();
    turn();
  });

  return {
    shown() {
      shown = true;
      turn();
    },
    hidden() {
      shown = false;
      turn();
    },
  };
}

function entry(line) {
  const fields = Object.entries(line).filter(([key]) => !OWN.has(key));
  const part = line.child && line.child !== line.part ? `${line.part ?? ""}/${line.child}` : (line.part ?? "");
  return el(
    "p",
    { "data-level": line.level },
    el("time", { datetime: line.at, title: moment(line.at) }, clock(line.at)),
    el("span", { class: "level" }, line.level ?? ""),
    el("span", { class: "part" }, part),
    el(
      "span",
      { class: "event" },
      line.event ?? "",
      ...fields.flatMap(([key, value]) => [" ", el("i", {}, `${key}=`), plain(value)]),
    ),
  );
}
