// A change of the configuration that is on probation: keep it, or take it back.

import { el } from "./dom.js";
import { command } from "./api.js";
import { confirmed } from "./dialog.js";

/** Return the buttons for the change on probation, none where the page may not change anything. */
export function changeButtons(device, config) {
  if (!device.mayChange) return [];
  const keepIt = () =>
    confirmed({
      title: `Keep revision ${config.revision}?`,
      text: "It no longer undoes itself then, provided the device does well with it.",
      go: "Keep it",
      act: () => command("config/confirm", { revision: config.revision }),
      answer: (result) => (result.kept ? "It is kept." : "It is noted: the device must still show that it does well."),
      after: () => device.now(),
    });
  const undo = () =>
    confirmed({
      title: `Undo revision ${config.revision}?`,
      text: "What held before holds again.",
      go: "Undo it",
      act: () => command("config/revert", { who: "page" }),
      answer: (result) => `Undone: revision ${result.revision} is in force.`,
      after: () => device.now(),
    });
  return [
    config.needs_confirm ? el("button", { type: "button", class: "main", onclick: keepIt }, "Keep it …") : null,
    el("button", { type: "button", onclick: undo }, "Undo it …"),
  ].filter(Boolean);
}
