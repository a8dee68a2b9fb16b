// One camera of the live view: its picture, what can be done with it, and how it does.

import { el, facts, say } from "./dom.js";
import { number, words } from "./format.js";
import { keep } from "./kept.js";
import { ask } from "./api.js";
import { Stream } from "./stream.js";

/** Widths that are asked for: few, because viewers of one width share one stream. */
const WIDTHS = [480, 640, 960, 1280];

export class CameraCard {
  #settings;
  #camera;
  #plays;
  #stream;
  #allowed = false;
  #streams = true;

  constructor(camera, settings, plays) {
    this.#settings = settings;
    this.#camera = camera;
    this.#plays = plays;
    this.picture = el("img", { alt: `Camera ${camera.name}`, width: 640, height: 360 });
    this.word = el("p", { class: "veil" });
    this.play = el("button", { type: "button", onclick: () => this.#toggle() });
    this.still = el("button", { type: "button", onclick: () => this.#takeStill() }, "Still picture");
    this.whole = el("a", { class: "button", target: "_blank", rel: "noopener" }, "Full size");
    this.rate = el("span", { class: "aside" });
    this.health = el("span", { class: "state" });
    this.figures = el("div");
    this.why = el("p", { class: "hint" });
    const title = el("h3", {}, camera.name);
    this.root = el(
      "article",
      { class: "panel camera", "aria-label": `Camera ${camera.name}` },
      el("div", { class: "head" }, title, this.health, el("span", { class: "aside" }, camera.pipeline)),
      el("div", { class: "frame" }, this.picture, this.word),
      el("div", { class: "row" }, this.play, this.still, this.whole, this.rate),
      this.figures,
      this.why,
    );
    this.#stream = new Stream(this.picture, this.root, (state, why) => this.#tell(state, why));
    this.#set();
  }

  /** Take up what the camera is now. */
  is(camera) {
    const turned = JSON.stringify(camera.size) !== JSON.stringify(this.#camera.size);
    this.#camera = camera;
    if (camera.size) {
      this.picture.width = camera.size[0];
      this.picture.height = camera.size[1];
    }
    this.whole.href = this.#path("picture.jpg", { width: 3840 });
    if (turned) this.again();
  }

  /** Take up how the camera does; null: the device does not say. */
  does(state) {
    if (!state) return;
    const wrong = state.conditions.map(words).join(", ");
    this.health.dataset.kind = state.health === "streaming" ? (wrong ? "warn" : "good") : "bad";
    say(this.health, wrong ? `${state.health}: ${wrong}` : state.health);
    this.#streams = state.health === "streaming";
    this.#allow();
    this.figures.replaceChildren(
      facts(
        [
          ["fps", number(state.fps, 1)],
          ["answered", state.answered],
          ["skipped", state.skipped],
          ["gated", state.gated],
          ["lost", state.lost],
        ],
        { class: "figures" },
      ),
    );
    say(this.why, state.why_not ? `Nothing is reported: ${state.why_not}` : state.reason);
  }

  /** Whether pictures may be fetched at all now. */
  allow(allowed) {
    this.#allowed = allowed;
    this.#allow();
  }

  /** Begin anew: settings changed, or the device came back. */
  again() {
    this.whole.href = this.#path("picture.jpg", { width: 3840 });
    this.#set();
  }

  close() {
    this.#stream.close();
    this.root.remove();
  }

  /** A camera that gives no pictures is not asked for any. */
  #allow() {
    this.#stream.allow(this.#allowed && this.#streams);
    if (!this.#streams) say(this.word, "this camera gives no pictures now");
  }

  #toggle() {
    this.#plays = !this.#plays;
    keep(`live.plays.${this.#camera.name}`, this.#plays);
    if (this.#plays) this.#set();
    else this.#pause();
  }

  #pause() {
    this.#stream.pause();
    this.#label();
  }

  #takeStill() {
    if (this.#plays) this.#toggle();
    this.#stream.still(this.#path("picture.jpg", { width: this.#width() }));
  }

  #set() {
    this.#label();
    if (this.#plays) this.#stream.play(this.#path("live.mjpg", { fps: this.#settings.fps, width: this.#width() }));
    else this.#stream.still(this.#path("picture.jpg", { width: this.#width() }));
  }

  #label() {
    say(this.play, this.#plays ? "Pause" : "Start");
    this.play.classList.toggle("main", !this.#plays);
  }

  #width() {
    const wanted = (this.root.clientWidth || 640) * Math.min(devicePixelRatio, 2);
    return WIDTHS.find((width) => width >= wanted) ?? WIDTHS.at(-1);
  }

  #path(file, question) {
    const { boxes, zones } = this.#settings;
    const path = `/api/cameras/${encodeURIComponent(this.#camera.name)}/${file}`;
    return ask(path, { ...question, boxes: Number(boxes), zones: Number(zones) });
  }

  #tell(state, words) {
    this.root.dataset.stream = state;
    say(this.word, state === "live" ? "" : words);
    say(this.rate, state === "live" ? words : "");
  }
}
