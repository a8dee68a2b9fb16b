// Zones and lines as the configuration wants them: what is wrong with one, and its YAML. Pure.

export const MOST_POINTS = 64;
const NAME = /^[a-z0-9][a-z0-9_-]{0,63}$/;
const DIGITS = 4;
const LEAST = 1e-6;
/** Words and forms that YAML takes for something else than a text. */
const TAKEN = new Set(["y", "yes", "n", "no", "true", "false", "on", "off", "null", "none", "nan", "inf"]);

/** Return a part of the picture as it is written: within it, to a ten-thousandth. */
export function part(value) {
  return Number(Math.min(1, Math.max(0, value)).toFixed(DIGITS));
}

/** Say what keeps a shape from being one, null where nothing does. The rules are those of `lookout check`. */
export function problem({ name, kind, points }) {
  if (!NAME.test(name)) return "The name needs small letters, digits, - and _, and begins with a letter or digit.";
  if (kind === "line") {
    if (points.length < 2) return `A line needs two points; ${2 - points.length} to go.`;
    const [[ax, ay], [bx, by]] = points;
    return Math.abs(ax - bx) + Math.abs(ay - by) < LEAST ? "Both ends of the line are in one place." : null;
  }
  if (points.length < 3) return `A zone needs at least three points; ${3 - points.length} to go.`;
  if (points.length > MOST_POINTS) return `A zone has at most ${MOST_POINTS} points.`;
  const cut = crossing(points);
  if (cut) return `The zone crosses itself: the edge from point ${cut[0] + 1} cuts the edge from point ${cut[1] + 1}.`;
  return Math.abs(area(points)) < LEAST ? "The zone holds no area: move its points apart." : null;
}

/** Return the zone as the configuration holds it. */
export function zone({ camera, kind, points, labels, ignore }) {
  return {
    camera,
    [kind]: points,
    ...(labels.length ? { labels } : {}),
    ...(ignore && kind === "polygon" ? { ignore: true } : {}),
  };
}

/** Return the lines that belong into the configuration file. */
export function yaml(name, one) {
  const spots = (points) => `[${points.map(([x, y]) => `[${x}, ${y}]`).join(", ")}]`;
  const lines = [`camera: ${scalar(one.camera)}`];
  if (one.polygon) lines.push(`polygon: ${spots(one.polygon)}`);
  if (one.line) lines.push(`line: ${spots(one.line)}`);
  if (one.labels) lines.push(`labels: [${one.labels.map(scalar).join(", ")}]`);
  if (one.ignore) lines.push("ignore: true");
  return ["zones:", `  ${scalar(name)}:`, ...lines.map((line) => `    ${line}`), ""].join("\n");
}

/** Where `in` is for who goes from the first point to the second: to the right. */
export function inwards([[ax, ay], [bx, by]], width, height) {
  const [dx, dy] = [(bx - ax) * width, (by - ay) * height];
  const length = Math.hypot(dx, dy) || 1;
  return [-dy / length, dx / length];
}

function scalar(text) {
  return /^[a-z][a-z0-9_-]*$/i.test(text) && !TAKEN.has(text.toLowerCase()) ? text : JSON.stringify(text);
}

function area(points) {
  return points.reduce((sum, [ax, ay], index) => {
    const [bx, by] = points[(index + 1) % points.length];
    return sum + (ax * by - bx * ay) / 2;
  }, 0);
}

function crossing(points) {
  const count = points.length;
  const edge = (index) => [points[index], points[(index + 1) % count]];
  for (let first = 0; first < count; first += 1) {
    for (let second = first + 2; second < count; second += 1) {
      if ((second + 1) % count !== first && meet(...edge(first), ...edge(second))) return [first, second];
    }
  }
  return null;
}

function meet(a, b, c, d) {
  const sides = [side(a, b, c), side(a, b, d), side(c, d, a), side(c, d, b)];
  if (sides[0] * sides[1] < 0 && sides[2] * sides[3] < 0) return true;
  const on = [
    [sides[0], a, b, c],
    [sides[1], a, b, d],
    [sides[2], c, d, a],
    [sides[3], c, d, b],
  ];
  return on.some(([value, p, q, r]) => value === 0 && between(p, q, r));
}

function side(a, b, c) {
  return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]);
}

function between(a, b, c) {
  return (
    Math.min(a[0], b[0]) <= c[0] &&
    c[0] <= Math.max(a[0], b[0]) &&
    Math.min(a[1], b[1]) <= c[1] &&
    c[1] <= Math.max(a[1], b[1])
  );
}
