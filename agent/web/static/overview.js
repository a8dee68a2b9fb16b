// The top of the page: how the device does, in words, and whether it still answers.

import { byId, el, facts, say } from "./dom.js";
import { request } from "./api.js";
import { clock, count, span } from "./format.js";
import { changeButtons } from "./pending.js";

/** Keep the top of the page as the device is. */
export function overview(device) {
  const notices = byId("notices");
  let told = "";
  let version = null;

  function show() {
    const { status, lostAt } = device;
    document.documentElement.classList.toggle("lost", lostAt !== null);
    if (status) {
      say(byId("device"), status.device);
      byId("facts").replaceChildren(...figures(status));
      version ??= status.page?.version ?? null;
      byId("leave").hidden = !status.page?.token;
    }
    const { kind, word, sentence } = verdict(status, lostAt);
    byId("state").dataset.kind = kind;
    say(byId("state"), word);
    document.title = `${status?.device ?? "Lookout"} · ${word}`;
    announce(sentence);
    const next = notes(device, version);
    const key = next.map((note) => note.textContent).join("\n");
    if (key !== told) {
      told = key;
      notices.replaceChildren(...next);
    }
  }

  byId("leave").addEventListener("click", leave);
  for (const event of ["status", "lost", "back"]) device.addEventListener(event, show);
}

async function leave() {
  await request("/logout", { method: "POST" });
  location.assign("/login");
}

/** Say in a word and in a sentence how the device does. */
function verdict(status, lostAt) {
  if (lostAt) return { kind: "bad", word: "no connection", sentence: "The device does not answer." };
  if (!status) return { kind: "busy", word: "connecting", sentence: "" };
  if (!status.degraded.length) return { kind: "good", word: "all is well", sentence: "The device does well." };
  const word = `degraded: ${count(status.degraded.length, "reason")}`;
  return { kind: "warn", word, sentence: `The device is degraded: ${status.degraded.join("; ")}` };
}

let announced = "";

/** Tell a screen reader, once, what changed; the first state is on the page anyway. */
function announce(sentence) {
  if (sentence === announced || !sentence) return;
  if (announced) say(byId("announcer"), sentence);
  announced = sentence;
}

function figures(status) {
  const { broker, config, memory_mb: memory } = status;
  const total = Object.values(memory ?? {}).reduce((sum, mb) => sum + mb, 0);
  const list = facts([
    ["Version", status.version],
    ["Up", span(status.uptime_s)],
    ["Broker", brokerWords(broker)],
    ["Configuration", config ? `revision ${config.revision}` : null],
    ["Memory", total ? `${Math.round(total)}\u00a0MB` : null],
  ]);
  return [...list.children];
}

function brokerWords(broker) {
  if (!broker.address) return "none";
  return broker.state + (broker.queued ? `, ${count(broker.queued, "message")} waiting` : "");
}

function notes(device, version) {
  const { status, lostAt } = device;
  const found = [];
  if (lostAt) {
    found.push(
      note("bad", "No connection", [
        `The device has not answered since ${clock(lostAt)}. What is below is old. Trying again …`,
      ]),
    );
  }
  if (!status) return found;
  if (version && status.page?.version !== version) {
    const again = el("button", { type: "button", onclick: () => location.reload() }, "Load the page again");
    found.push(note("warn", "Another version", [`The device now runs ${status.page.version}. `, again]));
  }
  if (status.degraded.length) {
    found.push(note("warn", "Degraded", [el("ul", {}, ...status.degraded.map((reason) => el("li", {}, reason)))]));
  }
  return [...found, ...configNotes(device, status.config)];
}

function configNotes(device, config) {
  if (!config) return [];
  const found = [];
  if (config.state === "probation") {
    const until = config.until
      ? `It undoes itself at ${clock(config.until)}`
      : "It is judged after the next start, and undone";
    const unless = config.needs_confirm ? "unless it proves good and is confirmed. " : "unless it proves good. ";
    const text = `The change of revision ${config.revision} is on probation. ${until} ${unless}`;
    found.push(note("busy", "Configuration", [text, ...changeButtons(device, config)]));
  }
  if (config.state === "reverted")
    found.push(note("warn", "Configuration", [`The last change was undone: ${config.reason}`]));
  if (config.errors?.length) {
    found.push(note("warn", "Refused", [el("ul", {}, ...config.errors.map((error) => el("li", {}, error)))]));
  }
  if (config.restart_needed?.length) {
    found.push(
      note("busy", "After a restart", [`These hold from the next start on: ${config.restart_needed.join(", ")}`]),
    );
  }
  return found;
}

function note(kind, title, content) {
  return el(
    "section",
    { class: "note", "data-kind": kind, "aria-label": title },
    el("strong", {}, title),
    el("div", {}, ...content),
  );
}
