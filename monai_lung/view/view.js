// The viewer's page. NiiVue comes inside ipyniivue as a widget of Jupyter (anywidget): `Model` is the part of Jupyter's
// side of a widget that it asks for.
import widget from "./niivue.js";

class Model {
  constructor(state) { this.state = state; this.listeners = {}; }
  get(name) { return this.state[name]; }
  set(name, value) { this.state[name] = value; }
  on(event, call) { (this.listeners[event] ??= []).push(call); }
  off(event) { delete this.listeners[event]; }
  save_changes() {}
  send_sync_message() {}
  get _comm_live() { return false; }
  send({ event, data }) { this.emit(`sent:${event}`, data); }
  emit(event, ...values) { for (const call of this.listeners[event] ?? []) call(...values); }
  change(name, value) { this.set(name, value); this.emit(`change:${name}`); }
  tell(type, ...data) { this.emit("msg:custom", { type, data }, []); }
}

const NO_FILE = { name: null, data: null };
const volume = (name, more) => new Model({
  id: name, name: `${name}.nii`, url: new URL(`${name}.nii`, location.href).href, path: NO_FILE, data: null,
  paired_img_path: NO_FILE, paired_img_url: "", paired_img_data: null, colormap: "gray", opacity: 1,
  cal_min: NaN, cal_max: NaN, cal_min_neg: NaN, cal_max_neg: NaN, colormap_negative: "", colormap_type: 0,
  colormap_label: null, colormap_invert: false, colorbar_visible: false, frame_4d: 0, modulation_image: null,
  modulate_alpha: 0, ...more,
});
const DRAG = { none: 0, pan: 3 };
const OPTIONS = {
  isRadiologicalConvention: true, sliceType: 3, multiplanarShowRender: 0, crosshairWidthUnit: "mm", crosshairWidth: 0.7,
  crosshairColor: [0.4, 0.7, 0.95, 0.6], crosshairGap: 12, backColor: [0, 0, 0, 1],
};

const by = (id) => document.getElementById(id);
const pressed = (button, on) => button.setAttribute("aria-pressed", String(on));
const isPressed = (button) => button.getAttribute("aria-pressed") === "true";

function addButton(parent, call, ...content) {
  const button = document.createElement("button");
  button.append(...content);
  button.addEventListener("click", () => call(button));
  parent.append(button);
  return button;
}

function element(name, text) {
  const one = document.createElement(name);
  one.textContent = text;
  return one;
}

function place({ mm, values }) {
  const hu = values.find((one) => one.id === "ct")?.value;
  const lps = [-mm[0], -mm[1], mm[2]].map((v) => v.toFixed(1));
  by("place").textContent = `x ${lps[0]}, y ${lps[1]}, z ${lps[2]} mm (LPS)` + (hu == null ? "" : `, ${Math.round(hu)} HU`);
}

async function start() {
  const about = await (await fetch("case.json")).json();
  document.title = by("name").textContent = about.name;
  by("advice").textContent = about.advice.join(" · ");
  by("notice").textContent = about.notice;
  if (!document.createElement("canvas").getContext("webgl2")) {
    throw new Error("this browser has no WebGL 2, which the three planes need");
  }

  const first = about.windows[0];
  const volumes = {
    ct: volume("ct", { cal_min: first.low, cal_max: first.high }),
    lungs: volume("lungs", { colormap: "blue", opacity: 0, cal_min: 0.5, cal_max: 2 }),
    nodules: volume("nodules", { colormap: "red", opacity: 0, cal_min: 0.5, cal_max: 1 }),
    outlines: volume("outlines", { colormap: "red", opacity: 1, cal_min: 0.5, cal_max: 1 }),
  };
  const model = new Model({
    opts: { ...OPTIONS, dragMode: DRAG.none }, volumes: Object.keys(volumes).map((name) => `IPY_MODEL_${name}`),
    meshes: [], height: 600, background_masks_overlays: 0, draw_lut: null, draw_opacity: 0.8, draw_fill_overwrites: true,
    graph: {}, scene: {}, overlay_outline_width: 0, overlay_alpha_shader: 1, this_model_id: null,
  });
  model.widget_manager = { get_model: async (name) => volumes[name] };
  model.on("sent:location_change", place);

  await widget.initialize({ model });
  await widget.render({ model, el: by("viewer") });

  const windows = about.windows.map((one) => addButton(by("windows"), (button) => {
    windows.forEach((other) => pressed(other, other === button));
    volumes.ct.change("cal_min", one.low);
    volumes.ct.change("cal_max", one.high);
  }, one.name));
  windows.forEach((button, n) => pressed(button, n === 0));

  const shown = { outlines: 1, nodules: 0.5, lungs: 0.25 };
  for (const button of document.querySelectorAll("[data-mask]")) {
    button.addEventListener("click", () => {
      pressed(button, !isPressed(button));
      const name = button.dataset.mask;
      volumes[name].change("opacity", isPressed(button) ? shown[name] : 0);
    });
  }
  const wheel = document.querySelector("[data-wheel]");
  wheel.addEventListener("click", () => {
    pressed(wheel, !isPressed(wheel));
    model.change("opts", { ...model.get("opts"), dragMode: isPressed(wheel) ? DRAG.pan : DRAG.none });
  });

  let current = -1;
  const rows = about.findings.map((one, n) => {
    const title = `${one.id}: ${one.title}${one.decides ? " (decides)" : ""}`;
    const item = document.createElement("li");
    by("findings").append(item);
    return addButton(item, () => go(n), element("b", title), ...one.lines.map((line) => element("span", line)));
  });
  function go(n) {
    if (!rows.length) return;
    current = (n + rows.length) % rows.length;
    rows.forEach((row, k) => row.setAttribute("aria-current", String(k === current)));
    rows[current].scrollIntoView({ block: "nearest" });
    model.change("scene", { crosshairPos: about.findings[current].at });
    model.tell("move_crosshair_in_vox", 0, 0, 0);  // draws, and says where it is
    document.body.dataset.finding = about.findings[current].id;
  }
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "n") go(current + 1);
    if (event.key === "p") go(current - 1);
  });

  by("status").textContent = rows.length ? "" : "No nodules were found.";
  if (rows.length) go(0);
  document.body.dataset.state = "ready";
}

start().catch((error) => {
  by("status").textContent = `The viewer can't show this: ${error.message}.`;
  document.body.dataset.state = "failed";
});
