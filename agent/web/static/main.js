// The page put together: every view is made here, and told when it is looked at and when not.

import { byId } from "./dom.js";
import { Device } from "./device.js";
import { overview } from "./overview.js";
import { liveView } from "./live.js";
import { modelsView } from "./models.js";
import { chartsView } from "./charts.js";
import { logsView } from "./logs.js";
import { configView } from "./config.js";
import { zonesView } from "./zones.js";

const device = new Device();

/** A view has `shown()` and `hidden()`; outside of the two it must cost the device nothing. */
const views = {
  live: liveView(device),
  models: modelsView(device),
  charts: chartsView(device),
  logs: logsView(device),
  config: configView(device),
  zones: zonesView(device),
};
let open = null;

function turnTo(name) {
  if (name === open || !(name in views)) return;
  if (open !== null) {
    views[open].hidden();
    byId(`view-${open}`).hidden = true;
  }
  open = name;
  byId(`view-${open}`).hidden = false;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${open}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  views[open].shown();
}

window.addEventListener("hashchange", () => turnTo(location.hash.slice(1)));
overview(device);
turnTo(location.hash.slice(1) in views ? location.hash.slice(1) : "live");
device.start();
