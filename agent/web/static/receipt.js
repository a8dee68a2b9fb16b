// What is proven of a swap, and how a digest is read whole.

import { el, facts } from "./dom.js";
import { amount, change, moment, number, plain, release } from "./format.js";

const SHORT = 12;

/** Return a digest, short until it is opened. `key` keeps it open when the page is drawn anew. */
export function digest(hex, key) {
  if (!hex) return null;
  return el(
    "details",
    { class: "digest", "data-key": `${key}.digest` },
    el("summary", {}, el("code", {}, `${hex.slice(0, SHORT)}…`), el("span", { class: "unseen" }, " whole digest")),
    el("code", {}, hex),
  );
}

/** Return a release with its digest. */
export function releaseWithDigest(one, key) {
  return one ? el("span", { class: "release" }, el("b", {}, release(one)), digest(one.digest, key)) : "none";
}

/** Say in one line what a swap took. */
export function receiptWords({ gap_ms: gap, lost, latency_ms: latency }) {
  const p95 = change(latency?.before?.p95, latency?.after?.p95, "ms", 1);
  return [gap === null ? "first model" : `gap ${amount(gap, "ms", 1)}`, `${lost} lost`, p95 ? `p95 ${p95}` : ""]
    .filter(Boolean)
    .join(" · ");
}

/** Return all that a receipt says. */
export function receiptFacts(receipt, key) {
  const { latency_ms: latency, memory_mb: memory, trial, shadow } = receipt;
  return facts(
    [
      ["At", moment(receipt.at)],
      ["From", releaseWithDigest(receipt.from, `${key}.from`)],
      ["To", releaseWithDigest(receipt.to, `${key}.to`)],
      ["Swap gap", receipt.gap_ms === null ? "none: the first model" : amount(receipt.gap_ms, "ms", 1)],
      ["Frames lost", plain(receipt.lost)],
      ["Frames skipped", plain(receipt.skipped)],
      ["Latency p50", change(latency?.before?.p50, latency?.after?.p50, "ms", 1)],
      ["Latency p95", change(latency?.before?.p95, latency?.after?.p95, "ms", 1)],
      ["Worker memory", change(memory?.before, memory?.after, "MB")],
      ["Trial", trial ? trialWords(trial) : null],
      ["Shadow", shadow ? shadowWords(shadow) : null],
      ["Way", receipt.unload_first ? "memory was too short for both: the old model was closed first" : null],
    ],
    { class: "receipt" },
  );
}

function trialWords(trial) {
  const chosen = trial.variants.find((one) => one.variant === trial.chosen);
  if (!chosen) return null;
  const golden = chosen.golden_expected
    ? `, ${chosen.golden_matched} of ${chosen.golden_expected} golden boxes found`
    : "";
  const latency = amount(chosen.latency_ms.p95, "ms", 1);
  return `${chosen.precision} on ${chosen.providers.join(", ")}: p95 ${latency}, ${amount(chosen.memory_mb, "MB")}${golden}`;
}

function shadowWords(shadow) {
  const frames = `${shadow.frames} of ${shadow.wanted} frames compared`;
  const agreed = shadow.agreement === null ? "" : `, agreement ${number(shadow.agreement, 3)}`;
  return frames + agreed + (shadow.stopped ? `; ${shadow.stopped}` : "");
}
