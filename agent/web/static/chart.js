// One chart: lines over time with axes, a unit, a cursor for mouse and keys, and a table of the same figures.

import { el, say, svg } from "./dom.js";
import { amount, clock, number } from "./format.js";
import { minutes, range, ticks } from "./scale.js";

const HEIGHT = 168;
const EDGE = { left: 44, right: 10, top: 8, bottom: 22 };
export const COLOURS = 8;

export class Chart {
  #at = [];
  #times = [];
  #series = [];
  #cursor = null;
  #width = 480;

  /** `digits` are the decimals of its figures; `within` fixes what its axis spans. */
  constructor({ title, unit, digits, within = null }) {
    this.within = within;
    this.unit = unit;
    this.digits = digits;
    this.drawing = svg("svg", { "aria-hidden": "true", height: HEIGHT });
    this.readout = el("p", { class: "readout" });
    this.legend = el("ul", { class: "legend" });
    this.plot = el(
      "div",
      {
        class: "plot",
        tabindex: "0",
        role: "slider",
        "aria-label": `${title}, moment`,
        "aria-valuemin": "0",
        "aria-valuemax": "0",
        "aria-valuenow": "0",
        "aria-valuetext": "no figures yet",
        onpointermove: (event) => this.#point(event),
        onpointerdown: (event) => this.#point(event),
        onpointerleave: () => this.#set(null),
        onblur: () => this.#set(null),
        onfocus: () => this.#focused(),
        onkeydown: (event) => this.#key(event),
      },
      this.drawing,
    );
    this.table = el("div", { class: "scrolls", tabindex: "0", role: "region", "aria-label": `${title}, as a table` });
    this.fold = el(
      "details",
      { class: "fold", ontoggle: () => this.#tabulate() },
      el("summary", {}, "As a table"),
      this.table,
    );
    const heading = el("figcaption", {}, el("h3", {}, title), el("span", { class: "aside" }, unit));
    this.root = el(
      "figure",
      { class: "panel chart" },
      heading,
      this.legend,
      this.plot,
      el("div", { class: "foot" }, this.readout, this.fold),
    );
    new ResizeObserver((seen) => {
      this.#width = Math.max(200, Math.floor(seen.at(-1).contentRect.width));
      this.#draw();
    }).observe(this.plot);
  }

  /** Show these figures: RFC 3339 moments, and lists of values (null: unknown) by name. */
  update(at, series) {
    this.#at = at;
    this.#times = at.map((one) => Date.parse(one));
    this.#series = series;
    const entries = series.map((one, index) =>
      el(
        "li",
        {},
        el("span", { class: `key c${index % COLOURS}`, "aria-hidden": "true" }),
        `${one.name} `,
        el(
          "b",
          {},
          amount(
            one.values.findLast((value) => value !== null),
            this.unit,
            this.digits,
          ),
        ),
      ),
    );
    this.legend.replaceChildren(...entries);
    this.plot.setAttribute("aria-valuemax", Math.max(0, at.length - 1));
    if (this.#cursor !== null) this.#cursor = Math.min(this.#cursor, at.length - 1);
    this.#draw();
    this.#tabulate();
  }

  #focused() {
    if (this.#cursor === null && this.#at.length) this.#set(this.#at.length - 1);
  }

  #key(event) {
    const last = this.#at.length - 1;
    const here = this.#cursor ?? last;
    const steps = {
      ArrowLeft: here - 1,
      ArrowDown: here - 1,
      ArrowRight: here + 1,
      ArrowUp: here + 1,
      PageUp: here + 10,
      PageDown: here - 10,
      Home: 0,
      End: last,
    };
    if (!(event.key in steps) || last < 0) return;
    event.preventDefault();
    this.#set(Math.min(last, Math.max(0, steps[event.key])));
  }

  #point(event) {
    if (this.#at.length < 2) return;
    const [from, to] = this.#span();
    const part = (event.offsetX - EDGE.left) / (this.#width - EDGE.left - EDGE.right);
    const wanted = from + Math.min(1, Math.max(0, part)) * (to - from);
    const nearest = this.#times.reduce(
      (best, time, index) => (Math.abs(time - wanted) < Math.abs(this.#times[best] - wanted) ? index : best),
      0,
    );
    this.#set(nearest);
  }

  #set(cursor) {
    if (cursor === null && document.activeElement === this.plot && this.plot.matches(":focus-visible")) return;
    this.#cursor = cursor;
    const text = cursor === null ? "" : this.#told(cursor);
    say(this.readout, text);
    if (text) {
      this.plot.setAttribute("aria-valuenow", cursor);
      this.plot.setAttribute("aria-valuetext", text);
    }
    this.#draw();
  }

  #told(index) {
    const figures = this.#series.map(
      (one) => `${this.#series.length > 1 ? `${one.name} ` : ""}${amount(one.values[index], this.unit, this.digits)}`,
    );
    return `${clock(this.#at[index])}: ${figures.join(", ")}`;
  }

  #span() {
    return [this.#times[0], this.#times.at(-1)];
  }

  #draw() {
    const width = this.#width;
    const known = this.#series.flatMap((one) => one.values).filter((value) => value !== null);
    const marks = ticks(...(this.within ?? range(known)));
    const [low, high] = [marks[0], marks.at(-1)];
    const [from, to] = this.#times.length > 1 ? this.#span() : [0, 1];
    const x = (time) => EDGE.left + ((time - from) / (to - from)) * (width - EDGE.left - EDGE.right);
    const y = (value) => HEIGHT - EDGE.bottom - ((value - low) / (high - low)) * (HEIGHT - EDGE.top - EDGE.bottom);
    const parts = known.length ? this.#axes(marks, x, y, from, to) : [];
    if (this.#times.length > 1) {
      this.#series.forEach((one, index) =>
        parts.push(svg("path", { class: `line c${index % COLOURS}`, d: this.#way(one.values, x, y) })),
      );
      if (this.#cursor !== null) parts.push(...this.#cross(this.#cursor, x, y));
    }
    this.drawing.setAttribute("width", width);
    this.drawing.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    this.drawing.replaceChildren(...parts);
    if (this.#times.length < 2 || !known.length)
      this.drawing.append(svg("text", { class: "tick", x: EDGE.left, y: HEIGHT / 2 }, "no figures yet"));
  }

  #axes(marks, x, y, from, to) {
    const digits = Math.max(0, ...marks.map((mark) => (String(mark).split(".")[1] ?? "").length));
    const across = marks.flatMap((mark) => [
      svg("line", { class: "grid", x1: EDGE.left, x2: this.#width - EDGE.right, y1: y(mark), y2: y(mark) }),
      svg("text", { class: "tick", x: EDGE.left - 6, y: y(mark) + 3.5, "text-anchor": "end" }, number(mark, digits)),
    ]);
    if (this.#times.length < 2) return across;
    const down = minutes(from, to, this.#width / 90).flatMap((time) => [
      svg("line", { class: "grid", x1: x(time), x2: x(time), y1: HEIGHT - EDGE.bottom, y2: HEIGHT - EDGE.bottom + 4 }),
      svg("text", { class: "tick", x: x(time), y: HEIGHT - 6, "text-anchor": "middle" }, clock(time).slice(0, 5)),
    ]);
    return [...across, ...down];
  }

  /** A line through the known values: what is unknown leaves a gap; one alone becomes a dot. */
  #way(values, x, y) {
    let drawing = false;
    return values
      .map((value, index) => {
        if (value === null) {
          drawing = false;
          return "";
        }
        const step = drawing ? "L" : "M";
        drawing = true;
        const alone = step === "M" && (values[index + 1] ?? null) === null ? "h.01" : "";
        return `${step}${x(this.#times[index]).toFixed(1)} ${y(value).toFixed(1)}${alone}`;
      })
      .join("");
  }

  #cross(index, x, y) {
    const at = x(this.#times[index]);
    const dots = this.#series.flatMap((one, number) =>
      one.values[index] === null
        ? []
        : [svg("circle", { class: `dot c${number % COLOURS}`, cx: at, cy: y(one.values[index]), r: 3.5 })],
    );
    return [svg("line", { class: "cursor", x1: at, x2: at, y1: EDGE.top, y2: HEIGHT - EDGE.bottom }), ...dots];
  }

  #tabulate() {
    if (!this.fold.open) return;
    const heads = ["Time", ...this.#series.map((one) => `${one.name}${this.unit ? `, ${this.unit}` : ""}`)];
    const rows = this.#at
      .map((at, index) =>
        el(
          "tr",
          {},
          el("th", { scope: "row" }, clock(at)),
          ...this.#series.map((one) => el("td", {}, number(one.values[index], this.digits))),
        ),
      )
      .reverse();
    this.table.replaceChildren(
      el(
        "table",
        {},
        el("thead", {}, el("tr", {}, ...heads.map((head) => el("th", { scope: "col" }, head)))),
        el("tbody", {}, ...rows),
      ),
    );
  }
}
