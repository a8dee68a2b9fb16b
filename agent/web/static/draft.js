// The shape that is being drawn: its points, which of them is chosen, where the cross of the keys is, steps back.

import { MOST_POINTS, part } from "./shape.js";

const KEPT_STEPS = 50;

/** Tells `change` after everything it does, with `said`: what happened, in words. */
export class Draft extends EventTarget {
  kind = "polygon";
  points = [];
  chosen = null;
  cursor = [0.5, 0.5];
  #steps = [];

  get most() {
    return this.kind === "line" ? 2 : MOST_POINTS;
  }

  /** Draw a zone or a line from now on; a line keeps the first two points. */
  setKind(kind) {
    this.#remember();
    this.kind = kind;
    this.points = this.points.slice(0, this.most);
    this.#choose(null);
    this.#tell(kind === "line" ? "drawing a line" : "drawing a zone");
  }

  /** Add a point, at its end or before another; a line that has its two gets its nearer end moved instead. */
  add(x, y, index = this.points.length) {
    if (this.points.length >= this.most) {
      if (this.kind === "line") this.#moveNearest(x, y);
      return;
    }
    this.#remember();
    this.points = this.points.toSpliced(index, 0, [part(x), part(y)]);
    this.#choose(null);
    this.#tell(`point ${index + 1} added at ${place(this.points[index])}`);
  }

  /** Move a point. Of one drag only the first step is remembered. */
  move(index, x, y, first = true) {
    if (first) this.#remember();
    this.points = this.points.with(index, [part(x), part(y)]);
    this.#tell(`point ${index + 1} at ${place(this.points[index])}`);
  }

  remove(index) {
    if (!(index in this.points)) return;
    this.#remember();
    this.points = this.points.toSpliced(index, 1);
    this.#choose(null);
    this.#tell(`point ${index + 1} removed`);
  }

  /** Choose the next point (1) or the one before (-1). */
  step(by) {
    const count = this.points.length;
    if (!count) return;
    this.choose(this.chosen === null ? (by > 0 ? 0 : count - 1) : (this.chosen + by + count) % count);
  }

  choose(index) {
    this.#choose(index);
    this.#tell(index === null ? "no point chosen" : `point ${index + 1} chosen, at ${place(this.points[index])}`);
  }

  /** Move the chosen point, or else the cross. */
  nudge(dx, dy) {
    const [x, y] = this.chosen === null ? this.cursor : this.points[this.chosen];
    if (this.chosen !== null) {
      this.move(this.chosen, x + dx, y + dy);
      return;
    }
    this.cursor = [part(x + dx), part(y + dy)];
    this.#tell(`cross at ${place(this.cursor)}`);
  }

  /** Let the chosen point go, or else take all points away. */
  escape() {
    if (this.chosen !== null) this.choose(null);
    else this.clear();
  }

  clear() {
    if (!this.points.length) return;
    this.#remember();
    this.points = [];
    this.#choose(null);
    this.#tell("all points removed");
  }

  /** Turn a line round, so that in becomes out. */
  flip() {
    this.#remember();
    this.points = this.points.toReversed();
    this.#choose(null);
    this.#tell("the line is turned round");
  }

  undo() {
    const before = this.#steps.pop();
    if (!before) return;
    Object.assign(this, before);
    this.#choose(null);
    this.#tell("one step back");
  }

  #moveNearest(x, y) {
    const far = ([a, b]) => Math.hypot(a - x, b - y);
    this.move(far(this.points[0]) <= far(this.points[1]) ? 0 : 1, x, y);
  }

  #choose(index) {
    this.chosen = index;
  }

  #remember() {
    this.#steps = [...this.#steps.slice(1 - KEPT_STEPS), { kind: this.kind, points: this.points }];
  }

  #tell(said) {
    this.dispatchEvent(new CustomEvent("change", { detail: said }));
  }
}

function place([x, y]) {
  return `${Math.round(x * 100)} % across, ${Math.round(y * 100)} % down`;
}
