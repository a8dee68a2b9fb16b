// Changing the configuration from the page: first what it would change, then the change itself, in the device's words.

import { el } from "./dom.js";
import { clock, plain } from "./format.js";
import { command } from "./api.js";
import { confirmed } from "./dialog.js";

const WHO = "page";

/** Whether a key of the list may be changed through the device's own command. */
export function changeable(one) {
  return Boolean(one.remote) && /^[\w-]+(\.[\w-]+)*$/.test(one.key) && one.value !== "(hidden)";
}

/** Ask for another value of one key. `after` is called once it was changed. */
export function changeKey(device, one, after) {
  const field = el("input", { name: "value", spellcheck: "false", autocomplete: "off", value: plain(one.value ?? "") });
  const back = one.source === "remote" ? el("input", { type: "checkbox", name: "back" }) : null;
  const fields = [
    el("label", {}, one.key, field),
    el("p", { class: "hint" }, `${one.description ?? ""} Lists and maps are written as JSON.`),
    back ? el("label", { class: "check" }, back, " Give the file's value back instead") : null,
  ].filter(Boolean);
  const patch = () => nested(one.key.split("."), back?.checked ? null : meant(field.value, one.value));
  propose({ device, title: `Change ${one.key}`, fields, patch, after });
}

/** Ask whether zones, drawn here, shall be put into force. */
export function applyZone(device, name, zone, after) {
  const fields = [
    el("p", {}, `The zone ${name} of camera ${zone.camera} is added to what the device was told from afar.`),
  ];
  propose({
    device,
    title: `Put the zone ${name} into force?`,
    fields,
    patch: () => ({ zones: { [name]: zone } }),
    after,
  });
}

/** Try a patch, show what it would change, and put it into force when that is wanted. */
function propose({ device, title, fields, patch, after }) {
  let tried = "";
  confirmed({
    title,
    fields,
    go: "Look at what it changes",
    act: () => {
      const wanted = patch();
      const sure = tried === JSON.stringify(wanted);
      tried = JSON.stringify(wanted);
      return command("config/patch", { patch: wanted, who: WHO, dry_run: !sure });
    },
    answer: (result, go) => {
      if (result.dry_run && result.changes.length) go("Put into force");
      return said(result);
    },
    stays: (result) => result.dry_run,
    after: (result) => {
      if (result.dry_run) return;
      device.now();
      after?.();
    },
  });
}

function said(result) {
  if (!result.changes.length) return "That changes nothing.";
  const changes = el(
    "ul",
    {},
    ...result.changes.map((one) =>
      el("li", {}, el("code", {}, one.path), `: ${plain(one.before)} → ${plain(one.after)}`),
    ),
  );
  return el("div", {}, el("p", {}, sentence(result)), changes);
}

function sentence({ dry_run: dry, pending, restart_needed: restart, revision }) {
  if (dry) return pending ? "It would be on probation first. It would change:" : "It would change:";
  if (pending?.begins === "restart")
    return `Revision ${revision} takes effect, and is judged, with the next start of the agent.`;
  if (pending) {
    const unless = pending.needs_confirm ? "it proves good and is confirmed above" : "it proves good";
    return `Revision ${revision} is on probation: it undoes itself at ${clock(pending.until)} unless ${unless}.`;
  }
  return `Revision ${revision} is in force.${restart.length ? " Some of it holds from the next start on." : ""}`;
}

/** Return what a text means: JSON where it is some, else the text; a text stays one where the key holds a text. */
function meant(text, before) {
  const trimmed = text.trim();
  if (typeof before === "string" && !/^["[{]/.test(trimmed)) return trimmed;
  try {
    return JSON.parse(trimmed);
  } catch {
    return trimmed;
  }
}

function nested(steps, value) {
  return steps.reduceRight((inner, step) => ({ [step]: inner }), value);
}
