"use strict";
{
  const main = document.querySelector("main");
  const numbers = (name) => (main.dataset[name] || "").split(" ").map(Number);
  const directions = { axial: "IS", coronal: "AP", sagittal: "RL" };
  const cards = [...document.querySelectorAll(".card")].filter((card) => card.querySelector(".voxels"));
  let pageScrolled = -1000;

  /** Grey values 0...255 of the stored voxels in the chosen window. */
  function greys() {
    const [low, high] = numbers(main.classList.contains("mediastinal") ? "mediastinal" : "lung");
    const [first, last] = numbers("voxels");
    return Uint8ClampedArray.from({ length: 256 }, (_, v) => ((first + (v * (last - first)) / 255 - low) / (high - low)) * 255);
  }

  /** The voxels of a card, read once: size, outlines, and byte (z * size + y) * size + x. */
  function load(card) {
    card.loading ??= (async () => {
      const data = JSON.parse(card.querySelector(".voxels").textContent);
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
    })();
    return card.loading;
  }

  /** Index of the voxel behind a pixel of a view: columns and rows run as in report/views.py. */
  function voxel(plane, n, index, column, row) {
    const up = n - 1 - row;
    if (plane === "axial") return [column, row, index];
    return plane === "coronal" ? [column, index, up] : [index, column, up];
  }

  /** Draw the slice that a view's slider says. */
  async function draw(view) {
    const data = await load(view.closest(".card"));
    const { plane, start } = view.dataset;
    const slider = view.querySelector("input");
    const index = Number(slider.value);
    const n = data.size;
    const canvas = view.querySelector("canvas");
    const context = canvas.getContext("2d");
    const image = context.createImageData(n, n);
    const grey = greys();
    for (let row = 0, i = 0; row < n; row++) {
      for (let column = 0; column < n; column++, i += 4) {
        const [x, y, z] = voxel(plane, n, index, column, row);
        image.data.fill(grey[data.bytes[(z * n + y) * n + x]], i, i + 3);
        image.data[i + 3] = 255;
      }
    }
    context.putImageData(image, 0, 0);
    canvas.hidden = false;
    view.querySelector(".outline").setAttribute("d", data.outlines[plane][index] || "");
    view.querySelector(".axes").classList.toggle("away", index !== Number(start));
    const mm = data.first[{ sagittal: 0, coronal: 1, axial: 2 }[plane]] + index * data.spacing;
    const text = `${Math.abs(mm).toFixed(1)} mm ${directions[plane][mm >= 0 ? 1 : 0]}`;
    view.querySelector("output").textContent = text;
    slider.setAttribute("aria-valuetext", text);
  }

  function go(view, index) {
    view.querySelector("input").value = index;
    return draw(view);
  }

  /** Let a view follow its slider, its buttons, the wheel, and a click in the two others. */
  function wire(view) {
    const card = view.closest(".card");
    const slider = view.querySelector("input");
    const stage = view.querySelector(".stage");
    let turned = 0;
    slider.addEventListener("input", () => draw(view));
    for (const button of view.querySelectorAll(".step"))
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
      const [x, y, z] = voxel(view.dataset.plane, n, Number(slider.value), column, row);
      for (const other of card.querySelectorAll(".view"))
        if (other !== view) go(other, { axial: z, coronal: y, sagittal: x }[other.dataset.plane]);
    });
  }

  const toggles = {
    outlines: (on) => main.classList.toggle("no-outlines", !on),
    axes: (on) => main.classList.toggle("no-axes", !on),
    mediastinal: (on) => {
      main.classList.toggle("mediastinal", on);
      for (const card of cards) card.querySelectorAll(".view").forEach(draw);
    },
    dark: (on) => { document.getElementById("dark").media = on ? "screen" : "not all"; },
  };
  for (const button of document.querySelectorAll("[data-toggle]")) {
    if (button.dataset.toggle === "dark") button.setAttribute("aria-pressed", matchMedia("(prefers-color-scheme: dark)").matches);
    button.addEventListener("click", () => {
      const on = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", on);
      toggles[button.dataset.toggle](on);
    });
  }
  document.querySelector(".tools").hidden = false;
  addEventListener("scroll", () => { pageScrolled = performance.now(); }, { passive: true });
  for (const card of cards) {
    card.classList.add("scrolls");
    card.querySelectorAll(".view").forEach(wire);
  }
}
