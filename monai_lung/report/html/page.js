"use strict";
{
  const main = document.querySelector("main");
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const sets = all(".set").filter((set) => set.querySelector(".voxels"));
  const views = sets.flatMap((set) => all(".view", set));
  const loading = new WeakMap();
  const shown = { window: [0, 1], slab: 0 };
  let pageScrolled = -1000;

  /** Grey values 0...255 of the stored bytes in the chosen window: bytes stand for HU by the knots of data-voxels. */
  function greys() {
    const knots = JSON.parse(main.dataset.voxels);
    const [low, high] = shown.window;
    return Uint8ClampedArray.from({ length: 256 }, (_, byte) => {
      const n = Math.max(knots.findIndex(([step]) => step >= byte), 1);
      const [[step, hu], [nextStep, nextHu]] = [knots[n - 1], knots[n]];
      const value = hu + ((byte - step) / (nextStep - step)) * (nextHu - hu);
      return ((value - low) / (high - low)) * 255;
    });
  }

  /** The voxels of a set of views, read once: size, outlines, and byte (z * size + y) * size + x. */
  function load(set) {
    if (!loading.has(set)) loading.set(set, read(set));
    return loading.get(set);
  }

  async function read(set) {
    const data = JSON.parse(set.querySelector(".voxels").textContent);
    const image = new Image();
    image.src = data.voxels;
    await image.decode();
    const canvas = document.createElement("canvas");
    canvas.width = image.width;
    canvas.height = image.height;
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(image, 0, 0);
    const n = data.size;
    data.bytes = new Uint8Array(n * n * n);
    for (let z = 0; z < n; z++) {
      const tile = context.getImageData((z % data.columns) * n, Math.floor(z / data.columns) * n, n, n).data;
      for (let i = 0; i < n * n; i++) data.bytes[z * n * n + i] = tile[4 * i];
    }
    return data;
  }

  /** Where in the bytes a pixel of a view lies: columns and rows run as in report/views.py. */
  function layout(plane, n) {
    const [one, row, slice] = [1, n, n * n];
    const top = (n - 1) * slice;
    if (plane === "axial") return { column: one, row, through: slice, first: 0 };
    return { column: plane === "coronal" ? one : row, row: -slice, through: plane === "coronal" ? row : one, first: top };
  }

  /** Draw the slice that a view's slider says, or the brightest of a slab around it. */
  async function draw(view) {
    const data = await load(view.closest(".set"));
    const { plane, start } = view.dataset;
    const slider = view.querySelector("input");
    const index = Number(slider.value);
    const n = data.size;
    const half = Math.floor(shown.slab / 2 / data.spacing);
    const [first, last] = [Math.max(index - half, 0), Math.min(index + half, n - 1)];
    const canvas = view.querySelector("canvas");
    const context = canvas.getContext("2d");
    const image = context.createImageData(n, n);
    const grey = greys();
    const step = layout(plane, n);
    for (let row = 0, i = 0; row < n; row++) {
      for (let column = 0; column < n; column++, i += 4) {
        const place = step.first + column * step.column + row * step.row;
        let brightest = 0;
        for (let k = first; k <= last; k++) brightest = Math.max(brightest, data.bytes[place + k * step.through]);
        image.data[i] = image.data[i + 1] = image.data[i + 2] = grey[brightest];
        image.data[i + 3] = 255;
      }
    }
    context.putImageData(image, 0, 0);
    canvas.hidden = false;
    view.querySelector(".outline").setAttribute("d", data.outlines[plane][index] || "");
    view.querySelector(".axes").classList.toggle("away", index !== Number(start));
    const axis = { sagittal: 0, coronal: 1, axial: 2 }[plane];
    const mm = (data.first[axis] + index * data.spacing).toFixed(1).replace("-", "\u2212");
    const named = plane === "axial" && data.images.length ? `image ${data.images[index]}, ` : "";
    const text = `${named}${"xyz"[axis]} ${mm} mm`;
    view.querySelector("output").textContent = text;
    slider.setAttribute("aria-valuetext", text);
  }

  const redraw = () => views.forEach(draw);

  /** Set a view, and the one of the same plane in the other examination, to a slice. */
  function go(view, index) {
    for (const one of all(`.view[data-plane=${view.dataset.plane}]`, view.closest("article"))) {
      one.querySelector("input").value = index;
      draw(one);
    }
  }

  /** Let a view follow its slider, its buttons, the wheel, and a click in the two others. */
  function wire(view) {
    const slider = view.querySelector("input");
    const stage = view.querySelector(".stage");
    let turned = 0;
    slider.addEventListener("input", () => go(view, slider.value));
    for (const button of all(".step", view))
      button.addEventListener("click", () => go(view, Number(slider.value) + Number(button.dataset.step)));
    stage.addEventListener("wheel", (event) => {
      // A view that comes under the pointer while the page is being scrolled must not catch the wheel.
      if (event.ctrlKey || performance.now() - pageScrolled < 250) return;
      event.preventDefault();
      turned += event.deltaMode ? event.deltaY * 33 : event.deltaY;
      const steps = Math.trunc(turned / 33) || (Math.abs(event.deltaY) >= 33 ? Math.sign(turned) : 0);
      if (steps) {
        turned = 0;
        go(view, Number(slider.value) - Math.sign(steps) * Math.min(Math.abs(steps), 3));
      }
    }, { passive: false });
    stage.addEventListener("click", (event) => {
      slider.focus({ preventScroll: true });
      const n = Number(slider.max) + 1;
      const [column, row] = [event.offsetX / stage.clientWidth, event.offsetY / stage.clientHeight].map((f) => Math.floor(f * n));
      const step = layout(view.dataset.plane, n);
      const place = step.first + column * step.column + row * step.row + Number(slider.value) * step.through;
      const [x, y, z] = [place % n, Math.floor(place / n) % n, Math.floor(place / (n * n))];
      for (const other of all(".view", view.closest(".set")))
        if (other !== view) go(other, { axial: z, coronal: y, sagittal: x }[other.dataset.plane]);
    });
  }

  const toggles = {
    outlines: (on) => main.classList.toggle("no-outlines", !on),
    axes: (on) => main.classList.toggle("no-axes", !on),
    dark: (on) => { document.getElementById("dark").media = on ? "screen" : "not all"; },
  };
  const pressed = (button, on) => button.setAttribute("aria-pressed", on);

  /** Choose one of a group of buttons: a window, or the thickness of the slab. */
  function choose(button) {
    for (const other of all("button", button.parentElement)) pressed(other, other === button);
    if (button.dataset.window) shown.window = button.dataset.window.split(" ").map(Number);
    else shown.slab = Number(button.dataset.slab);
  }

  for (const button of all("[data-toggle]")) {
    if (button.dataset.toggle === "dark") pressed(button, matchMedia("(prefers-color-scheme: dark)").matches);
    button.addEventListener("click", () => {
      const on = button.getAttribute("aria-pressed") !== "true";
      pressed(button, on);
      toggles[button.dataset.toggle](on);
    });
  }
  const presets = all("[data-window]");
  const slabs = all("[data-slab]");
  if (presets.length) choose(presets[0]);
  for (const button of [...presets, ...slabs])
    button.addEventListener("click", () => {
      choose(button);
      redraw();
    });

  /** Bring the next card, or the one before, to the top. */
  function step(by) {
    const cards = all(".card");
    const top = document.querySelector("header").getBoundingClientRect().bottom + 20;
    const at = cards.findIndex((card) => card.getBoundingClientRect().bottom > top);
    const here = at < 0 ? cards.length : at;
    const before = here < cards.length && cards[here].getBoundingClientRect().top > top ? here - 1 : here;
    const next = cards[Math.min(Math.max(before + by, 0), cards.length - 1)];
    next?.scrollIntoView();
    next?.focus({ preventScroll: true });
  }

  const keys = {
    o: () => document.querySelector("[data-toggle=outlines]")?.click(),
    a: () => document.querySelector("[data-toggle=axes]")?.click(),
    d: () => document.querySelector("[data-toggle=dark]").click(),
    m: () => slabs[(slabs.findIndex((b) => b.getAttribute("aria-pressed") === "true") + 1) % slabs.length]?.click(),
    n: () => step(1),
    p: () => step(-1),
  };
  presets.forEach((button, n) => { keys[n + 1] = () => button.click(); });
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("textarea, input:not([type=range])")) return;
    keys[event.key.toLowerCase()]?.();
  });

  /** Put the text of an element onto the clipboard; without the right to, select it. */
  async function copy(button) {
    const source = document.getElementById(button.dataset.copy);
    const said = button.parentElement.querySelector(".said");
    try {
      await navigator.clipboard.writeText(source.textContent);
      said.textContent = "Copied.";
    } catch {
      getSelection().selectAllChildren(source);
      said.textContent = document.execCommand("copy") ? "Copied." : "Selected: copy it with Ctrl+C.";
    }
  }
  for (const button of all("[data-copy]")) button.addEventListener("click", () => copy(button));

  /** What was decided on this page, kept by the browser for this result. */
  const decisions = {
    key: `monai-lung ${main.dataset.result}`,
    of: new Map(),
    restore() {
      try {
        this.of = new Map(JSON.parse(localStorage.getItem(this.key)) || []);
      } catch { /* a browser without storage forgets */ }
    },
    keep() {
      try {
        localStorage.setItem(this.key, JSON.stringify([...this.of]));
      } catch { /* as above */ }
    },
  };

  const quoted = (path) => (/^[\w./:\\-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`);

  /** Show the decisions on cards and rows, and the command that writes them. */
  function showDecisions() {
    const of = (what) => [...decisions.of].filter(([, decision]) => decision === what).map(([id]) => id).sort((a, b) => a - b);
    const [rejected, accepted] = [of("reject"), of("accept")];
    for (const place of all("[data-nodule]")) place.classList.toggle("rejected", decisions.of.get(place.dataset.nodule) === "reject");
    for (const button of all("[data-decision]"))
      pressed(button, decisions.of.get(button.closest("[data-nodule]").dataset.nodule) === button.dataset.decision);
    const folder = location.protocol === "file:" ? decodeURIComponent(location.pathname).replace(/\/[^/]*$/, "") : "OUT/CASE";
    const options = [["reject", rejected], ["accept", accepted]].filter(([, ids]) => ids.length);
    document.getElementById("command").textContent =
      `monai-lung revise ${quoted(folder)} ${options.map(([name, ids]) => `--${name} ${ids.join(",")}`).join(" ")}`;
    document.querySelector(".decisions .summary").textContent =
      options.map(([name, ids]) => `${name === "reject" ? "Rejected" : "Accepted"}: ${ids.join(", ")}.`).join(" ");
    document.querySelector(".decisions").hidden = !options.length;
  }

  for (const button of all("[data-decision]"))
    button.addEventListener("click", () => {
      const id = button.closest("[data-nodule]").dataset.nodule;
      if (decisions.of.get(id) === button.dataset.decision) decisions.of.delete(id);
      else decisions.of.set(id, button.dataset.decision);
      decisions.keep();
      showDecisions();
    });
  if (main.dataset.result) {
    decisions.restore();
    showDecisions();
  }

  for (const hidden of all(".tools, .decide, .copying, .keys")) hidden.hidden = false;
  addEventListener("scroll", () => { pageScrolled = performance.now(); }, { passive: true });
  for (const set of sets) set.classList.add("scrolls");
  views.forEach(wire);
}
