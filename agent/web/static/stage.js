// The picture that is drawn on: shows the draft and the zones that are there, and takes mouse, touch and keys.

import { byId, svg } from "./dom.js";
import { inwards } from "./shape.js";

const STEP = 0.01;
const KEYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export class Stage {
  #draft;
  #root = byId("stage");
  #drawing = byId("stage-drawing");
  #zones = {};
  #lines = {};
  #held = null;

  constructor(draft) {
    this.#draft = draft;
    draft.addEventListener("change", () => this.draw());
    this.#root.addEventListener("keydown", (event) => this.#key(event));
    for (const event of ["focus", "blur"]) this.#root.addEventListener(event, () => this.draw());
    this.#drawing.addEventListener("pointerdown", (event) => this.#down(event));
    this.#drawing.addEventListener("pointermove", (event) => this.#dragged(event));
    for (const event of ["pointerup", "pointercancel"])
      this.#drawing.addEventListener(event, () => (this.#held = null));
    this.#drawing.addEventListener("click", (event) => this.#click(event));
    new ResizeObserver(() => this.draw()).observe(this.#root);
  }

  /** Show what is drawn on a camera's picture already. */
  take(camera) {
    this.#zones = camera.zones;
    this.#lines = camera.lines;
    this.draw();
  }

  draw() {
    const [width, height] = [this.#root.clientWidth, this.#root.clientHeight];
    const at = ([x, y]) => [x * width, y * height];
    this.#drawing.setAttribute("viewBox", `0 0 ${width || 1} ${height || 1}`);
    this.#drawing.replaceChildren(
      ...Object.entries(this.#zones).flatMap(([name, one]) => known(name, "polygon", one.polygon?.map(at), one.ignore)),
      ...Object.entries(this.#lines).flatMap(([name, one]) => known(name, "polyline", one.line?.map(at))),
      ...this.#drawn(at, width, height),
      ...(document.activeElement === this.#root && this.#draft.chosen === null ? cross(at(this.#draft.cursor)) : []),
    );
  }

  #drawn(at, width, height) {
    const { kind, points, chosen } = this.#draft;
    const spots = points.map(at);
    const shape = kind === "polygon" && spots.length > 2 ? "polygon" : "polyline";
    const list = spots.map((spot) => spot.join(",")).join(" ");
    const handles = spots.map(([x, y], index) =>
      svg(
        "g",
        { class: index === chosen ? "handle chosen" : "handle", "data-index": index },
        svg("circle", { class: "reach", cx: x, cy: y, r: 18 }),
        svg("circle", { class: "knob", cx: x, cy: y, r: 6.5 }),
        svg("text", { x: x + 10, y: y - 9 }, index + 1),
      ),
    );
    const middles =
      kind === "polygon" && spots.length > 2
        ? spots.map((spot, index) => middle(spot, spots[(index + 1) % spots.length], index + 1))
        : [];
    const arrow = kind === "line" && spots.length === 2 ? way(points, spots, width, height) : [];
    return [
      svg(shape, { class: "drawn halo", points: list }),
      svg(shape, { class: "drawn", points: list }),
      ...arrow,
      ...middles,
      ...handles,
    ];
  }

  #where(event) {
    const box = this.#drawing.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  }

  #down(event) {
    const handle = event.target.closest("[data-index]");
    const before = event.target.closest("[data-before]");
    if (before) {
      const index = Number(before.dataset.before);
      this.#draft.add(...this.#where(event), index);
      this.#hold(index, event, false);
    } else if (handle) this.#hold(Number(handle.dataset.index), event, true);
  }

  #hold(index, event, first) {
    event.preventDefault();
    this.#root.focus({ preventScroll: true });
    this.#drawing.setPointerCapture(event.pointerId);
    this.#held = { index, first };
    this.#draft.choose(index);
  }

  #dragged(event) {
    if (!this.#held) return;
    this.#draft.move(this.#held.index, ...this.#where(event), this.#held.first);
    this.#held.first = false;
  }

  #click(event) {
    if (event.target.closest("[data-index], [data-before]")) return;
    this.#root.focus({ preventScroll: true });
    this.#draft.add(...this.#where(event));
  }

  #key(event) {
    const draft = this.#draft;
    const keys = {
      Enter: () => draft.add(...draft.cursor),
      " ": () => draft.add(...draft.cursor),
      Delete: () => draft.remove(draft.chosen ?? draft.points.length - 1),
      Backspace: () => draft.remove(draft.chosen ?? draft.points.length - 1),
      Escape: () => draft.escape(),
      PageUp: () => draft.step(-1),
      PageDown: () => draft.step(1),
    };
    const wide = event.shiftKey ? 5 * STEP : event.altKey ? STEP / 5 : STEP;
    if (event.key in KEYS) draft.nudge(...KEYS[event.key].map((by) => by * wide));
    else if ((event.ctrlKey || event.metaKey) && event.key === "z") draft.undo();
    else if (event.key in keys && !event.ctrlKey && !event.metaKey) keys[event.key]();
    else return;
    event.preventDefault();
  }
}

/** What is there already; nothing where its place is not known until a picture was seen. */
function known(name, tag, spots, ignore = false) {
  if (!spots) return [];
  const [x, y] = spots[0];
  const points = spots.map((spot) => spot.join(",")).join(" ");
  return [
    svg(tag, { class: ignore ? "known ignored" : "known", points }),
    svg("text", { class: "known", x: x + 6, y: Math.max(14, y + 16) }, name),
  ];
}

function middle([ax, ay], [bx, by], index) {
  const [cx, cy] = [(ax + bx) / 2, (ay + by) / 2];
  return svg(
    "g",
    { class: "between", "data-before": index },
    svg("circle", { class: "reach", cx, cy, r: 14 }),
    svg("circle", { class: "knob", cx, cy, r: 4 }),
  );
}

/** The arrow of a line: the way that counts as in. */
function way(points, [[ax, ay], [bx, by]], width, height) {
  const [nx, ny] = inwards(points, width, height);
  const [x, y] = [(ax + bx) / 2, (ay + by) / 2];
  const tip = [x + 30 * nx, y + 30 * ny];
  const wing = (sign) => [tip[0] - 8 * nx - sign * 6 * ny, tip[1] - 8 * ny + sign * 6 * nx].join(",");
  return [
    svg("path", { class: "drawn way", d: `M${x},${y}L${tip.join(",")}M${wing(1)}L${tip.join(",")}L${wing(-1)}` }),
    svg("text", { x: tip[0] + 10 * nx - 6, y: tip[1] + 14 * ny + 4 }, "in"),
  ];
}

function cross([x, y]) {
  const d = `M${x - 14},${y}H${x + 14}M${x},${y - 14}V${y + 14}`;
  return [svg("path", { class: "cross halo", d }), svg("path", { class: "cross", d })];
}
