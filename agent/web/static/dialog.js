// The one dialog: something is asked or filled in, done, and what the device answered is read before it is closed.

import { byId, el, say } from "./dom.js";
import { ApiError } from "./api.js";

const dialog = byId("dialog");
const form = dialog.querySelector("form");
const title = byId("dialog-title");
const body = byId("dialog-body");
const answer = byId("dialog-answer");
const go = byId("dialog-go");
const cancel = byId("dialog-cancel");
let current = null;
let busy = false;

/**
 * Open the dialog.
 *
 * `text` or `fields` is what it shows. `act()` does it and resolves to a result; `answer(result)` says in words (or as
 * an element) what came of it, and may give the button another name; `after(result)` follows once it was done. With
 * `stays(result)` it can be done again.
 */
export function confirmed(question) {
  current = question;
  say(title, question.title);
  say(go, question.go);
  say(cancel, "Cancel");
  body.replaceChildren(...(question.fields ?? [el("p", {}, question.text)]));
  tell("", "");
  go.hidden = false;
  dialog.showModal();
  (body.querySelector("input, textarea, select") ?? cancel).focus();
}

function tell(kind, content) {
  answer.dataset.kind = kind;
  answer.replaceChildren(content);
}

function refusal(error) {
  if (!(error instanceof ApiError) || !error.problems.length) return error.message;
  return el(
    "ul",
    {},
    ...error.problems.map((one) => el("li", {}, one.path ? `${one.path}: ${one.message}` : one.message)),
  );
}

async function run() {
  const question = current;
  busy = go.disabled = true;
  tell("busy", "Asking the device …");
  try {
    const result = await question.act();
    if (current !== question) return;
    tell(
      "good",
      question.answer(result, (text) => say(go, text)),
    );
    question.after?.(result);
    if (!question.stays?.(result)) {
      go.hidden = true;
      say(cancel, "Close");
      cancel.focus();
    }
  } catch (error) {
    if (current === question) tell("bad", refusal(error));
  } finally {
    busy = go.disabled = false;
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (!busy && !go.hidden) run();
});
cancel.addEventListener("click", () => dialog.close());
dialog.addEventListener("close", () => {
  current = null;
});
