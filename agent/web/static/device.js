// What is known of the device, and whether it answers. Tells `status`, `cameras`, `lost` and `back`.

import { get, Unreachable } from "./api.js";
import { Poll } from "./poll.js";

const EVERY_S = 2;

export class Device extends EventTarget {
  status = null;
  cameras = [];
  /** When it stopped answering; null while it does. */
  lostAt = null;
  #poll = new Poll((signal) => this.#look(signal), EVERY_S);
  #known = "";

  start() {
    this.#poll.start();
  }

  /** Look now rather than when it is due: something was just changed. */
  now() {
    this.#poll.now();
  }

  get mayChange() {
    return Boolean(this.status?.page?.may_change);
  }

  /** Return the state of a camera, as `lookout status` has it. */
  camera(name) {
    return this.status?.cameras.find((one) => one.name === name) ?? null;
  }

  async #look(signal) {
    let status;
    try {
      status = await get("/api/status", signal);
      await this.#lookAtCameras(status, signal);
    } catch (error) {
      if (!signal.aborted && (error instanceof Unreachable || error.status >= 500)) this.#lost();
      throw error;
    }
    const restarted = this.status !== null && this.status.pid !== status.pid;
    const back = this.lostAt !== null || restarted;
    this.status = status;
    this.lostAt = null;
    this.#tell("status");
    if (back) this.#tell("back", { restarted });
  }

  /** Ask for the cameras only where something says that they may have changed. */
  async #lookAtCameras(status, signal) {
    const now = JSON.stringify([
      status.pid,
      status.config?.revision,
      status.cameras.map((one) => [one.name, one.health]),
    ]);
    if (now === this.#known) return;
    this.cameras = (await get("/api/cameras", signal)).cameras;
    this.#known = this.cameras.every((one) => one.size) ? now : "";
    this.status ??= status;
    this.#tell("cameras");
  }

  #lost() {
    if (this.lostAt !== null) return;
    this.lostAt = new Date();
    this.#tell("lost");
  }

  #tell(what, detail = {}) {
    this.dispatchEvent(new CustomEvent(what, { detail }));
  }
}
