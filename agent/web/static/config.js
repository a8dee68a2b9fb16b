// The configuration in force, with where each value comes from.

import { byId, el, renew, say } from "./dom.js";
import { count, plain } from "./format.js";
import { get } from "./api.js";
import { changeKey, changeable } from "./patch.js";

const SOURCES = { default: "default", file: "file", remote: "from afar", environment: "environment" };
const APPLIES = {
  live: "takes effect at once",
  part: "restarts the part it belongs to",
  agent: "holds from the next start on",
};

export function configView(device) {
  const root = byId("config");
  const search = byId("config-search");
  const changed = byId("config-changed");
  let keys = [];
  let shown = false;
  let loading = null;
  let revision = null;

  async function load() {
    loading?.abort();
    loading = new AbortController();
    const { signal } = loading;
    try {
      keys = (await get("/api/config", signal)).keys;
      revision = device.status?.config?.revision ?? null;
      show();
    } catch (error) {
      if (!signal.aborted) root.replaceChildren(el("p", { class: "empty" }, error.message));
    }
  }

  function show() {
    const wanted = search.value.trim().toLowerCase();
    const found = keys.filter((one) => (!changed.checked || differs(one)) && holds(one, wanted));
    const groups = new Map();
    for (const one of found) {
      const group = one.key.split(".")[0];
      groups.set(group, [...(groups.get(group) ?? []), one]);
    }
    const panels = [...groups].map(([name, rows]) => table(device, name, rows, load));
    renew(root, ...(panels.length ? panels : [el("p", { class: "empty" }, "No key is like that.")]));
    say(byId("config-count"), `${found.length} of ${count(keys.length, "key")}`);
  }

  search.addEventListener("input", show);
  changed.addEventListener("change", show);
  device.addEventListener("status", () => {
    if (shown && device.status.config && device.status.config.revision !== revision) load();
  });
  device.addEventListener("back", () => shown && load());
  return {
    shown() {
      shown = true;
      load();
    },
    hidden() {
      shown = false;
      loading?.abort();
    },
  };
}

function differs(one) {
  return one.source !== "default";
}

function holds(one, wanted) {
  return (
    !wanted || [one.key, plain(one.value), one.description ?? ""].some((text) => text.toLowerCase().includes(wanted))
  );
}

function table(device, name, rows, again) {
  const heads = ["Key", "Value", "From", device.mayChange ? "Change" : null].filter(Boolean);
  return el(
    "table",
    { class: "stacks keys" },
    el("caption", {}, name),
    el("thead", {}, el("tr", {}, ...heads.map((text) => el("th", { scope: "col" }, text)))),
    el("tbody", {}, ...rows.map((one) => row(device, one, again))),
  );
}

function row(device, one, again) {
  const meaning = [
    one.description,
    APPLIES[one.applies] ? `It ${APPLIES[one.applies]}.` : null,
    one.remote ? null : "It can only be changed at the device.",
  ];
  const change = changeable(one)
    ? el(
        "button",
        {
          type: "button",
          "data-key": `${one.key}.change`,
          "aria-label": `Change ${one.key}`,
          onclick: () => changeKey(device, one, again),
        },
        "Change …",
      )
    : null;
  return el(
    "tr",
    { "data-source": one.source },
    el(
      "td",
      {},
      el(
        "details",
        { "data-key": one.key },
        el("summary", {}, el("code", {}, one.key)),
        el("p", { class: "hint" }, meaning.filter(Boolean).join(" ")),
      ),
    ),
    el("td", { class: "value" }, el("code", {}, plain(one.value)), otherwise(one)),
    el("td", {}, el("span", { class: "source", title: one.where }, SOURCES[one.source] ?? one.source)),
    device.mayChange ? el("td", {}, change) : null,
  );
}

function otherwise(one) {
  const told = differs(one) && one.default && !/^(not set|none: must be given)$/.test(one.default);
  return told && one.default !== plain(one.value) ? el("p", { class: "hint" }, `default: ${one.default}`) : null;
}
