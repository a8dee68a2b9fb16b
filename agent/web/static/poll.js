// Doing something again and again, but only while somebody looks: never in a hidden tab.

/** Runs `work(signal)` every so many seconds between start and stop; when the tab shows again, at once. */
export class Poll {
  #work;
  #seconds;
  #timer = null;
  #running = null;
  #wanted = false;

  constructor(work, seconds) {
    this.#work = work;
    this.#seconds = seconds;
    document.addEventListener("visibilitychange", () => this.#turn());
  }

  start() {
    this.#wanted = true;
    this.#turn();
  }

  stop() {
    this.#wanted = false;
    this.#turn();
  }

  /** Do it now rather than when it is due. */
  now() {
    this.#halt();
    this.#turn();
  }

  #turn() {
    if (!this.#wanted || document.hidden) this.#halt();
    else if (this.#timer === null && this.#running === null) this.#run();
  }

  #halt() {
    clearTimeout(this.#timer);
    this.#timer = null;
    this.#running?.abort();
    this.#running = null;
  }

  async #run() {
    const mine = new AbortController();
    this.#running = mine;
    this.#timer = null;
    try {
      await this.#work(mine.signal);
    } catch (error) {
      if (!mine.signal.aborted) console.warn("lookout:", error.message);
    }
    if (this.#running !== mine) return; // halted meanwhile
    this.#running = null;
    this.#timer = setTimeout(() => this.#run(), this.#seconds * 1000);
  }
}
