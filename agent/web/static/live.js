// The live view: a card a camera, and the settings that all of them share.

import { byId } from "./dom.js";
import { keep, recall } from "./kept.js";
import { CameraCard } from "./camera.js";

/** At most so many streams begin by themselves: a browser has six connections for a device, and the page needs some. */
const BY_ITSELF = 3;

export function liveView(device) {
  const list = byId("cameras");
  const cards = new Map();
  const fps = byId("live-fps");
  const boxes = byId("live-boxes");
  const zones = byId("live-zones");
  const settings = {
    fps: recall("live.fps", "5"),
    boxes: recall("live.boxes", true),
    zones: recall("live.zones", true),
  };
  fps.value = settings.fps;
  boxes.checked = settings.boxes;
  zones.checked = settings.zones;
  let shown = false;

  /** Where motion is unwelcome, pictures move only when they are asked to. */
  function startsByItself(index) {
    return index < BY_ITSELF && !matchMedia("(prefers-reduced-motion: reduce)").matches;
  }

  function arrange() {
    const names = device.cameras.map((one) => one.name);
    for (const [name, card] of cards) {
      if (!names.includes(name)) {
        card.close();
        cards.delete(name);
      }
    }
    device.cameras.forEach((camera, index) => {
      if (!cards.has(camera.name)) {
        const plays = recall(`live.plays.${camera.name}`, startsByItself(index));
        cards.set(camera.name, new CameraCard(camera, settings, plays));
      }
      cards.get(camera.name).is(camera);
    });
    list.replaceChildren(...names.map((name) => cards.get(name).root));
    if (!names.length) list.textContent = "No camera is configured.";
    allow();
  }

  function allow() {
    for (const card of cards.values()) card.allow(shown && device.lostAt === null);
  }

  function look() {
    for (const [name, card] of cards) card.does(device.camera(name));
  }

  function changed() {
    Object.assign(settings, { fps: fps.value, boxes: boxes.checked, zones: zones.checked });
    for (const [name, value] of Object.entries(settings)) keep(`live.${name}`, value);
    for (const card of cards.values()) card.again();
  }

  for (const control of [fps, boxes, zones]) control.addEventListener("change", changed);
  device.addEventListener("cameras", arrange);
  device.addEventListener("status", look);
  device.addEventListener("lost", allow);
  device.addEventListener("back", () => {
    allow();
    for (const card of cards.values()) card.again();
  });

  return {
    shown() {
      shown = true;
      allow();
    },
    hidden() {
      shown = false;
      allow();
    },
  };
}
