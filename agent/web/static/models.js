// What is deployed to each pipeline, what was before, and the receipts.

import { byId, el, facts, renew } from "./dom.js";
import { moment, words } from "./format.js";
import { get } from "./api.js";
import { Poll } from "./poll.js";
import { receiptFacts, receiptWords, releaseWithDigest } from "./receipt.js";
import { modelButtons } from "./orders.js";

const EVERY_S = 3;
const KINDS = { committed: "good", idle: "good", failed: "bad", rolled_back: "warn" };

export function modelsView(device) {
  const root = byId("pipelines");
  let told = "";

  async function look(signal) {
    const { pipelines } = await get("/api/deployments", signal);
    const now = JSON.stringify([pipelines, device.mayChange]);
    if (now === told) return;
    told = now;
    const shown = Object.entries(pipelines).map(([name, one]) => pipelinePanel(device, name, one, () => poll.now()));
    renew(root, ...(shown.length ? shown : [el("p", { class: "empty" }, "No pipeline is configured.")]));
  }

  const poll = new Poll(look, EVERY_S);
  device.addEventListener("back", () => poll.now());
  return { shown: () => poll.start(), hidden: () => poll.stop() };
}

function pipelinePanel(device, name, one, again) {
  const receipt = one.receipt ?? one.history.find((past) => past.receipt)?.receipt;
  return el(
    "article",
    { class: "panel", "aria-label": `Pipeline ${name}` },
    el(
      "div",
      { class: "head" },
      el("h3", {}, name),
      el("span", { class: "state", "data-kind": KINDS[one.state] ?? "busy" }, words(one.state)),
      el("span", { class: "aside" }, one.reference ?? ""),
    ),
    one.reason ? el("p", { class: "reason" }, one.reason) : null,
    one.degraded ? el("p", { class: "problem" }, one.degraded) : null,
    one.yanked ? el("p", { class: "problem" }, `The publisher withdrew the current release: ${one.yanked}`) : null,
    progress(one.progress),
    facts(
      [
        ["Candidate", one.candidate ? releaseWithDigest(one.candidate, `${name}.candidate`) : null],
        ["Current", releaseWithDigest(one.current, `${name}.current`)],
        ["Previous", releaseWithDigest(one.previous, `${name}.previous`)],
        ["Begins", one.not_before ? moment(one.not_before) : null],
        ["Newest for this reference", one.latest],
      ],
      { class: "slots" },
    ),
    device.mayChange ? el("div", { class: "row" }, ...modelButtons(name, one, again)) : null,
    receipt
      ? el("div", { class: "swap" }, el("h4", {}, "Receipt of the last swap"), receiptFacts(receipt, `${name}.receipt`))
      : null,
    history(name, one.history),
  );
}

function progress(one) {
  if (!one?.total_bytes) return null;
  const percent = Math.floor((100 * one.done_bytes) / one.total_bytes);
  return el(
    "p",
    { class: "row" },
    el("progress", { max: one.total_bytes, value: one.done_bytes, "aria-label": "fetched" }),
    el("span", {}, `${percent} % of ${(one.total_bytes / 1e6).toFixed(1)} MB`),
  );
}

function history(name, rows) {
  if (!rows.length) return el("p", { class: "hint" }, "Nothing was deployed yet.");
  const heads = ["When", "Reference", "Became", "Why, and what it took"].map((text) =>
    el("th", { scope: "col" }, text),
  );
  return el(
    "table",
    { class: "stacks" },
    el("caption", {}, `History of ${name}`),
    el("thead", {}, el("tr", {}, ...heads)),
    el("tbody", {}, ...rows.map((row) => historyRow(`${name}.${row.at}`, row))),
  );
}

function historyRow(key, row) {
  const receipt = row.receipt
    ? el(
        "details",
        { class: "fold", "data-key": key },
        el("summary", {}, receiptWords(row.receipt)),
        receiptFacts(row.receipt, key),
      )
    : null;
  return el(
    "tr",
    {},
    el("td", { class: "when" }, moment(row.at)),
    el("td", {}, row.reference ?? ""),
    el("td", {}, el("span", { class: "state", "data-kind": KINDS[row.state] ?? "busy" }, words(row.state))),
    el("td", { class: "wide" }, row.reason ?? "", receipt),
  );
}
