// How figures are written. Pure.

export const NONE = "–";

/** Write a number with so many decimals; a dash for what is not known. */
export function number(value, digits = 0) {
  return typeof value === "number" && Number.isFinite(value) ? value.toFixed(digits) : NONE;
}

/** Write a number with its unit. */
export function amount(value, unit, digits = 0) {
  const written = number(value, digits);
  return written === NONE || !unit ? written : `${written}\u00a0${unit}`;
}

/** Write a count with its noun: `count(1, "reason")`. */
export function count(value, noun) {
  return `${value} ${noun}${value === 1 ? "" : "s"}`;
}

/** Write a time span by its two largest units. */
export function span(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const parts = [
    [Math.floor(whole / 86400), "d"],
    [Math.floor(whole / 3600) % 24, "h"],
    [Math.floor(whole / 60) % 60, "min"],
    [whole % 60, "s"],
  ];
  const told = parts.filter(([value]) => value).slice(0, 2);
  return told.length ? told.map(([value, unit]) => `${value}\u00a0${unit}`).join(" ") : "0\u00a0s";
}

function two(value) {
  return String(value).padStart(2, "0");
}

/** Write the time of day here of an RFC 3339 moment. */
export function clock(at) {
  const time = new Date(at);
  return Number.isNaN(time.getTime())
    ? NONE
    : [time.getHours(), time.getMinutes(), time.getSeconds()].map(two).join(":");
}

/** Write day and time here of an RFC 3339 moment. */
export function moment(at) {
  const time = new Date(at);
  if (Number.isNaN(time.getTime())) return NONE;
  return `${time.getFullYear()}-${two(time.getMonth() + 1)}-${two(time.getDate())} ${clock(at)}`;
}

/** Write a release as people name it. */
export function release(one) {
  return one ? `${one.model}:${one.version}` : "none";
}

/** Write how a measurement changed, `before → after`, and by how much. */
export function change(before, after, unit, digits = 0) {
  if (typeof before !== "number" && typeof after !== "number") return null;
  if (typeof before !== "number") return amount(after, unit, digits);
  const told = `${number(before, digits)} → ${amount(after, unit, digits)}`;
  if (typeof after !== "number" || !before) return told;
  const percent = Math.round((after / before - 1) * 100);
  return `${told} (${percent > 0 ? "+" : percent < 0 ? "−" : "±"}${Math.abs(percent)} %)`;
}

/** Write a value of the configuration or of a log line in one line. */
export function plain(value) {
  if (value === null || value === undefined) return NONE;
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** Write a word of the wire as people read it. */
export function words(name) {
  return name.replaceAll("_", " ");
}
