// Where the ticks of an axis lie. Pure.

const STEPS = [1, 2, 2.5, 5, 10];
const MINUTES = [1, 2, 5, 10, 15, 30, 60, 120, 240];

/** Return round numbers from below the least to above the largest of the values, about `count` of them. */
export function ticks(least, largest, count = 4) {
  const span = largest - least || Math.abs(largest) || 1;
  const raw = span / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = STEPS.find((one) => one * power >= raw) * power;
  const first = Math.floor(least / step) * step;
  const found = [];
  for (let at = 0; found.length < 20; at += 1) {
    found.push(Number((first + at * step).toPrecision(12)));
    if (found.at(-1) >= largest && found.length > 1) break;
  }
  return found;
}

/** Return the range of an axis that holds all values: from zero where they are not far from it. */
export function range(values) {
  if (!values.length) return [0, 1];
  const least = Math.min(...values);
  const largest = Math.max(...values);
  if (least >= 0 && least <= 0.6 * largest) return [0, largest];
  const room = Math.max((largest - least) * 0.15, Math.abs(largest) * 0.05, 1e-3);
  return [least >= 0 ? Math.max(0, least - room) : least - room, largest + room];
}

/** Return the full minutes, as milliseconds, that a time axis is labelled at, at most `count`. */
export function minutes(from, to, count) {
  const step = MINUTES.find((one) => (to - from) / 60000 / one <= count) ?? MINUTES.at(-1);
  const first = Math.ceil(from / 60000 / step) * step;
  const found = [];
  for (let at = first; at * 60000 <= to; at += step) found.push(at * 60000);
  return found;
}
