// The pictures of one camera in one <img>: fetched only while they may be and can be seen, and begun again when they end.

import { ApiError } from "./api.js";
import { pictures } from "./multipart.js";

const AGAIN_MS = [2000, 4000, 8000];
const RATE_OVER = 8;

/** Shows a stream or a still picture. `tell(state, words)`: off, waiting, live (at which rate), still or failed (why). */
export class Stream {
  #picture;
  #tell;
  #path = "";
  #moves = false;
  #allowed = false;
  #inSight = false;
  #taken = false;
  #running = null;
  #failures = 0;
  #timer = null;
  #shown = "";
  #watch;
  #turn = () => this.#set();

  constructor(picture, root, tell) {
    this.#picture = picture;
    this.#tell = tell;
    document.addEventListener("visibilitychange", this.#turn);
    this.#watch = new IntersectionObserver((seen) => {
      this.#inSight = seen.at(-1).isIntersecting;
      this.#set();
    });
    this.#watch.observe(root);
  }

  /** Show moving pictures from `path` from now on. */
  play(path) {
    this.#wish(path, true);
  }

  /** Show one picture from `path`. */
  still(path) {
    this.#wish(path, false);
  }

  /** Fetch nothing more; the last picture stays. */
  pause() {
    this.#wish("", false);
  }

  allow(allowed) {
    this.#allowed = allowed;
    this.#set();
  }

  close() {
    document.removeEventListener("visibilitychange", this.#turn);
    this.#watch.disconnect();
    this.allow(false);
    URL.revokeObjectURL(this.#shown);
  }

  #wish(path, moves) {
    this.#stop();
    this.#path = path;
    this.#moves = moves;
    this.#taken = false;
    this.#failures = 0;
    this.#set();
  }

  #set() {
    const wanted = this.#path !== "" && !this.#taken;
    if (!(wanted && this.#allowed && this.#inSight && !document.hidden)) this.#stop();
    else if (this.#running === null && this.#timer === null) this.#run();
  }

  #stop() {
    clearTimeout(this.#timer);
    this.#timer = null;
    if (this.#running === null) return;
    this.#running.abort();
    this.#running = null;
    this.#tell("off", "");
  }

  async #run() {
    const mine = new AbortController();
    this.#running = mine;
    this.#tell("waiting", "waiting for a picture");
    let why = "the stream ended; trying again";
    try {
      await this.#show(await ask(this.#path, mine.signal), mine.signal);
    } catch (error) {
      why = error instanceof ApiError ? error.message : "the stream was cut; trying again";
    }
    if (mine.signal.aborted) return;
    this.#running = null;
    if (this.#taken) return;
    this.#tell("failed", why);
    this.#timer = setTimeout(
      () => {
        this.#timer = null;
        this.#set();
      },
      AGAIN_MS[Math.min(this.#failures, AGAIN_MS.length - 1)],
    );
    this.#failures += 1;
  }

  async #show(response, signal) {
    if (!this.#moves) {
      await this.#put(await response.blob(), signal);
      if (signal.aborted) return;
      this.#taken = true;
      this.#tell("still", "");
      return;
    }
    const times = [];
    for await (const blob of pictures(response.body)) {
      await this.#put(blob, signal);
      if (signal.aborted) return;
      this.#failures = 0;
      times.push(performance.now());
      if (times.length > RATE_OVER) times.shift();
      this.#tell("live", rate(times));
    }
  }

  /** Show a picture once it is decoded, and let the one before go. */
  async #put(blob, signal) {
    if (signal.aborted) return;
    const before = this.#shown;
    this.#shown = URL.createObjectURL(blob);
    this.#picture.src = this.#shown;
    await this.#picture.decode();
    URL.revokeObjectURL(before);
  }
}

/** Ask for pictures; where there are none, raise an ApiError with the device's words. */
async function ask(path, signal) {
  const response = await fetch(path, { signal, credentials: "same-origin", cache: "no-store" });
  if (response.ok) return response;
  const body = await response.json().catch(() => ({})); // a proxy's answer is no JSON
  throw new ApiError(response.status, body.error ?? {});
}

function rate(times) {
  if (times.length < 3) return "";
  return `${((1000 * (times.length - 1)) / (times.at(-1) - times[0])).toFixed(1)} a second`;
}
