// Drawing a zone or a line: the form beside the picture, the list of points, and the YAML that comes of it.

import { byId, el, say } from "./dom.js";
import { ask } from "./api.js";
import { Draft } from "./draft.js";
import { Stage } from "./stage.js";
import { problem, yaml, zone } from "./shape.js";
import { applyZone } from "./patch.js";

export function zonesView(device) {
  const form = byId("zone-form");
  const cameras = byId("zone-camera");
  const picture = byId("stage-picture");
  const result = byId("zone-yaml");
  const draft = new Draft();
  const stage = new Stage(draft);
  let shown = false;
  let fetched = "";

  function camera() {
    return device.cameras.find((one) => one.name === cameras.value) ?? device.cameras[0];
  }

  function choices() {
    const chosen = cameras.value;
    cameras.replaceChildren(...device.cameras.map((one) => el("option", { value: one.name }, one.name)));
    if (device.cameras.some((one) => one.name === chosen)) cameras.value = chosen;
    show();
  }

  /** Fetch one picture, without boxes and zones, of the camera that is drawn on; only while somebody looks. */
  function show(anew = false) {
    const one = camera();
    if (!shown || !one) return;
    stage.take(one);
    write();
    if (fetched === one.name && !anew) return;
    fetched = one.name;
    const path = `/api/cameras/${encodeURIComponent(one.name)}/picture.jpg`;
    picture.src = ask(path, { boxes: 0, zones: 0, width: 1280, n: Date.now() });
  }

  function drawn() {
    const filled = new FormData(form);
    const labels = filled
      .get("labels")
      .split(",")
      .map((label) => label.trim())
      .filter(Boolean);
    return {
      name: filled.get("name").trim(),
      kind: draft.kind,
      points: draft.points,
      labels: [...new Set(labels)],
      ignore: filled.has("ignore"),
      camera: camera()?.name ?? "",
    };
  }

  function write() {
    const made = drawn();
    const wrong = problem(made);
    const taken = camera() && (made.name in camera().zones || made.name in camera().lines);
    say(byId("zone-problem"), wrong ?? (taken ? `It takes the place of the ${made.name} that is there.` : ""));
    result.value = wrong ? "" : yaml(made.name, zone(made));
    byId("zone-copy").disabled = byId("zone-apply").disabled = Boolean(wrong);
    byId("zone-apply").hidden = !device.mayChange;
    byId("zone-flip").hidden = made.kind !== "line" || made.points.length < 2;
    byId("zone-ignore").hidden = made.kind === "line";
  }

  /** The points as fields: what the picture shows, for who cannot see it, and for exact places. */
  function list() {
    const places = byId("points");
    if (places.childElementCount !== draft.points.length)
      places.replaceChildren(...draft.points.map((_, index) => fields(index)));
    draft.points.forEach((point, index) => {
      places.children[index].querySelectorAll("input").forEach((input, axis) => {
        if (input !== document.activeElement) input.value = point[axis];
      });
    });
  }

  function fields(index) {
    const input = (axis, name) =>
      el("input", {
        type: "number",
        min: 0,
        max: 1,
        step: 0.0001,
        "aria-label": `Point ${index + 1}, ${name}`,
        onchange: (event) => {
          const point = [...draft.points[index]];
          point[axis] = event.target.valueAsNumber || 0;
          draft.move(index, ...point);
          event.target.value = draft.points[index][axis];
        },
      });
    const remove = el(
      "button",
      { type: "button", class: "quiet", "aria-label": `Remove point ${index + 1}`, onclick: () => draft.remove(index) },
      "Remove",
    );
    return el("li", {}, input(0, "from the left"), input(1, "from the top"), remove);
  }

  async function copy() {
    let done = "Copied.";
    try {
      await navigator.clipboard.writeText(result.value);
    } catch {
      result.select(); // no clipboard without TLS: the older way
      done = document.execCommand("copy") ? "Copied." : "It is selected: copy it with Ctrl+C.";
    }
    say(byId("zone-problem"), done);
  }

  draft.addEventListener("change", (event) => {
    list();
    write();
    say(byId("announcer"), event.detail);
  });
  form.addEventListener("input", write);
  form.addEventListener("submit", (event) => event.preventDefault());
  for (const choice of form.elements.kind) choice.addEventListener("change", () => draft.setKind(choice.value));
  byId("zone-undo").addEventListener("click", () => {
    draft.undo();
    form.elements.kind.value = draft.kind;
  });
  byId("zone-clear").addEventListener("click", () => draft.clear());
  byId("zone-flip").addEventListener("click", () => draft.flip());
  byId("zone-copy").addEventListener("click", copy);
  byId("zone-apply").addEventListener("click", () => {
    const made = drawn();
    applyZone(device, made.name, zone(made), () => draft.clear());
  });
  byId("zone-refresh").addEventListener("click", () => show(true));
  cameras.addEventListener("change", () => show());
  device.addEventListener("cameras", choices);
  device.addEventListener("back", () => show(true));
  picture.addEventListener("load", () => {
    byId("stage").style.setProperty("--ratio", picture.naturalWidth / picture.naturalHeight); // so that all of it is seen
    byId("stage-problem").hidden = true;
    stage.draw();
  });
  picture.addEventListener("error", () => {
    fetched = "";
    byId("stage-problem").hidden = false;
    say(byId("stage-problem"), "There is no picture of this camera now; zones can be drawn all the same.");
  });

  return {
    shown() {
      shown = true;
      show();
    },
    hidden() {
      shown = false;
    },
  };
}
