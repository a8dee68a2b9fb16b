// What may be ordered of a pipeline: deploy, cancel, roll back. Only where the device allows changes from its page.

import { el } from "./dom.js";
import { release } from "./format.js";
import { command } from "./api.js";
import { confirmed } from "./dialog.js";

const CANCELLABLE = new Set(["resolving", "fetching", "verifying", "trial", "shadow", "waiting_for_clock", "deferred"]);

/** Return the buttons of a pipeline; `again` is called when something was ordered. */
export function modelButtons(pipeline, one, again) {
  const under = CANCELLABLE.has(one.state);
  return [
    button("Deploy …", () => deploy(pipeline, again), "deploy", pipeline),
    under ? button("Cancel …", () => cancel(pipeline, one, again), "cancel", pipeline) : null,
    one.previous || one.state === "probation"
      ? button("Roll back …", () => rollBack(pipeline, one, again), "rollback", pipeline)
      : null,
  ].filter(Boolean);
}

function button(text, onclick, what, pipeline) {
  return el("button", { type: "button", onclick, "data-key": `${pipeline}.${what}` }, text);
}

function deploy(pipeline, after) {
  const reference = el("input", {
    name: "reference",
    required: true,
    maxlength: 256,
    spellcheck: "false",
    autocomplete: "off",
    placeholder: "yolox-nano:1.2.0",
  });
  const force = el("input", { type: "checkbox", name: "force" });
  confirmed({
    title: `Deploy to ${pipeline}`,
    fields: [
      el("label", {}, "Release", reference),
      el(
        "p",
        { class: "hint" },
        "name:version, name@channel or name@range. It must pass its trial before it serves, and its probation after.",
      ),
      el("label", { class: "check" }, force, " Try it even if it failed here before"),
    ],
    go: "Deploy",
    act: () => command("model/deploy", { pipeline, reference: reference.value.trim(), force: force.checked }),
    answer: (result) =>
      `${result.reference} is under way.${result.supersedes ? ` It takes the place of ${result.supersedes}.` : ""}`,
    after,
  });
}

function cancel(pipeline, one, after) {
  confirmed({
    title: `Cancel the deployment to ${pipeline}?`,
    text: `${one.reference ?? "What is under way"} is given up; ${release(one.current)} goes on serving.`,
    go: "Cancel it",
    act: () => command("model/cancel", { pipeline }),
    answer: () => "It is cancelled.",
    after,
  });
}

function rollBack(pipeline, one, after) {
  const [from, to] =
    one.state === "probation"
      ? [one.reference ?? "the new release", one.current]
      : [release(one.current), one.previous];
  confirmed({
    title: `Roll ${pipeline} back?`,
    text: `From ${from} to ${release(to)}.`,
    go: "Roll back",
    act: () => command("model/rollback", { pipeline }),
    answer: (result) => `The way back${result.reference ? ` to ${result.reference}` : ""} is under way.`,
    after,
  });
}
