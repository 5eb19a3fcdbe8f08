"use strict";

const $ = (selector) => document.querySelector(selector);
const KEY_STEP = 0.5; // of the brush's size, for each arrow key
const MAX_ZOOM = 64;
const still = matchMedia("(prefers-reduced-motion: reduce)");

// Requests --------------------------------------------------------------------------------------------------------------------

async function send(path, parts, signal) {
  const form = new FormData();
  let bytes = 0;
  for (const [name, part] of Object.entries(parts)) {
    if (part instanceof Blob) form.append(name, part, part.name ?? `${name}.png`);
    else form.append(name, part);
    bytes += part.size ?? 0;
  }
  if (bytes > state.limits.max_bytes) {
    throw new Error(`the files have ${Math.ceil(bytes / 2 ** 20)} MB; this page takes up to ${Math.floor(state.limits.max_bytes / 2 ** 20)}`);
  }
  return answer(fetch(path, { method: "POST", body: form, signal }));
}

async function answer(request) {
  let response;
  try {
    response = await request;
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("the server does not answer; is python -m lit_inpaint.app still running?");
  }
  if (response.ok) return response;
  const found = await response.json().catch(() => ({}));
  throw new Error(found.error ?? `the server answers ${response.status}`);
}

// A layer of paint, kept as a list of actions: undo repeats all but the last -------------------------------------------------------

class Layer {
  constructor(canvas, color) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.color = color;
    this.reset(1, 1);
  }

  reset(width, height) {
    Object.assign(this.canvas, { width, height });
    this.actions = [];
    this.undone = [];
  }

  add(action) {
    this.actions.push(action);
    this.undone = [];
    this.draw(action);
  }

  undo() {
    if (!this.actions.length) return;
    this.undone.push(this.actions.pop());
    this.redraw();
  }

  redo() {
    if (!this.undone.length) return;
    this.actions.push(this.undone.pop());
    this.draw(this.actions.at(-1));
  }

  redraw() {
    this.wipe();
    this.actions.forEach((action) => this.draw(action));
  }

  wipe() {
    this.context.globalCompositeOperation = "source-over";
    this.context.clearRect(0, 0, this.canvas.width, this.canvas.height);
  }

  draw(action) {
    const { context, canvas } = this;
    context.fillStyle = context.strokeStyle = this.color;
    if (action.kind === "stroke") {
      action.points.forEach((_, index) => this.segment(action, index));
    } else if (action.kind === "image") {
      this.wipe();
      context.drawImage(action.image, 0, 0);
      context.globalCompositeOperation = "source-in";
      context.fillRect(0, 0, canvas.width, canvas.height);
    } else if (action.kind === "invert") {
      context.globalCompositeOperation = "source-out";
      context.fillRect(0, 0, canvas.width, canvas.height);
    } else {
      this.wipe();
    }
  }

  segment(stroke, index) {
    const { context } = this;
    const [x, y] = stroke.points[index];
    context.globalCompositeOperation = stroke.erase ? "destination-out" : "source-over";
    context.fillStyle = context.strokeStyle = this.color;
    context.beginPath();
    if (index === 0) {
      context.arc(x, y, stroke.size / 2, 0, 2 * Math.PI);
      context.fill();
      return;
    }
    Object.assign(context, { lineWidth: stroke.size, lineCap: "round", lineJoin: "round" });
    context.moveTo(...stroke.points[index - 1]);
    context.lineTo(x, y);
    context.stroke();
  }

  blob() {
    const copy = document.createElement("canvas");
    Object.assign(copy, { width: this.canvas.width, height: this.canvas.height });
    const context = copy.getContext("2d");
    context.fillRect(0, 0, copy.width, copy.height);
    context.drawImage(this.canvas, 0, 0);
    return new Promise((resolve, reject) => {
      copy.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("this browser cannot paint on so large a picture"))), "image/png");
    });
  }
}

// State -----------------------------------------------------------------------------------------------------------------------

const layers = { mask: new Layer($("#mask"), "#ff2458"), edges: new Layer($("#edges"), "#00e5ff") };
const state = {
  limits: { max_bytes: Infinity },
  methods: [],
  picture: null, // the file as it was given
  shown: null, // address of what the browser shows of it
  width: 1,
  height: 1,
  zoom: null, // screen pixels per pixel; null fits the window
  tool: "brush",
  layer: "mask",
  stroke: null, // that is being painted
  cursor: null,
  running: null, // AbortController of the requests under way
};

const layer = () => layers[state.layer];
const duration = (seconds) => (seconds < 0.01 ? "below 0.01 s" : `${seconds.toFixed(seconds < 10 ? 2 : 1)} s`);
const stem = (name) => name.replace(/\.[^.]*$/, "") || "picture";
const chosen = () => state.methods.filter((method) => $(`#method-${method.key}`).checked);
const guided = () => chosen().filter((method) => method.edges);

function report(error) {
  if (error?.name === "AbortError") return;
  $("#error").textContent = error ? `${error.message[0].toUpperCase()}${error.message.slice(1)}.`.replace(/\.\.$/, ".") : "";
  $("#error").classList.toggle("alone", $("#editor").hidden);
  if (error && $("#editor").hidden) document.body.append($("#error"));
  else $("aside").append($("#error"));
}

// One request of the page at a time; a second click does nothing
async function exclusively(message, work) {
  if (state.running) return;
  state.running = new AbortController();
  const start = performance.now();
  const show = () => ($("#status").textContent = `${message()} ${((performance.now() - start) / 1000).toFixed(0)} s`);
  const timer = setInterval(show, 500);
  report(null);
  show();
  refresh();
  try {
    await work(state.running.signal);
  } catch (error) {
    report(error);
  } finally {
    clearInterval(timer);
    $("#status").textContent = "";
    state.running = null;
    refresh();
  }
}

function refresh() {
  const busy = state.running !== null;
  $("#fill").disabled = $("#predict-edges").disabled = busy;
  $("#cancel").hidden = !busy;
  $("#undo").disabled = !layer().actions.length;
  $("#redo").disabled = !layer().undone.length;
  document.querySelectorAll("[data-tool]").forEach((button) => button.setAttribute("aria-pressed", button.dataset.tool === state.tool));
  document.querySelectorAll("[data-layer]").forEach((button) => button.setAttribute("aria-pressed", button.dataset.layer === state.layer));
  $("#edges-panel").hidden = !guided().length;
  $("#edges-method").textContent = guided().map((method) => method.label).join(" and ");
  if (!guided().length) state.layer = "mask";
  $("#edges").hidden = !guided().length;
}

// Pictures and masks ------------------------------------------------------------------------------------------------------------

async function decoded(blob) {
  const image = new Image();
  image.src = URL.createObjectURL(blob);
  await image.decode();
  return image;
}

function open(file) {
  return exclusively(() => "Reading the picture,", async (signal) => {
    const response = await send("preview", { picture: file }, signal);
    const image = await decoded(await response.blob());
    if (state.shown) URL.revokeObjectURL(state.shown);
    Object.assign(state, { picture: file, shown: image.src, width: image.naturalWidth, height: image.naturalHeight, zoom: null });
    $("#picture").src = image.src;
    Object.values(layers).forEach((each) => each.reset(state.width, state.height));
    $("#welcome").hidden = true;
    $("#editor").hidden = false;
    removeCards();
    $("#facts").textContent = `${file.name}, ${state.width} × ${state.height}`;
    state.cursor = [state.width / 2, state.height / 2];
    setSize(Math.max(1, Math.round(Math.max(state.width, state.height) / 18)));
    layout();
  });
}

function openMask(file) {
  return exclusively(() => "Reading the mask,", async (signal) => {
    const response = await send("mask", { mask: file, width: state.width, height: state.height }, signal);
    state.layer = "mask";
    layers.mask.add({ kind: "image", image: await createImageBitmap(await response.blob()) });
  });
}

// What can be dropped, pasted or chosen: a picture
function take(files) {
  const file = files?.[0];
  if (file) open(file);
}

// Brush -------------------------------------------------------------------------------------------------------------------------

const maxSize = () => Math.max(4, Math.max(state.width, state.height) / 2);
const size = () => Math.max(1, Math.round(maxSize() ** ($("#size").value / 1000)));

function setSize(pixels) {
  $("#size").value = Math.round((1000 * Math.log(Math.max(1, pixels))) / Math.log(maxSize()));
  showBrush();
}

function resize(factor) {
  const before = size();
  setSize(factor > 1 ? Math.max(before + 1, before * factor) : Math.min(before - 1, before * factor));
}

function showBrush() {
  const scale = $("#stage").clientWidth / state.width;
  $("#size-value").textContent = `${size()} px`;
  if (!state.cursor) return;
  const [x, y] = state.cursor;
  Object.assign($("#brush").style, { left: `${x * scale}px`, top: `${y * scale}px`, width: `${size() * scale}px`, height: `${size() * scale}px` });
}

// The middle of the pixel below the pointer, so that a brush of one pixel paints one
function at(event) {
  const box = $("#mask").getBoundingClientRect();
  const x = ((event.clientX - box.left) * state.width) / box.width;
  const y = ((event.clientY - box.top) * state.height) / box.height;
  return [Math.floor(x) + 0.5, Math.floor(y) + 0.5];
}

function begin(point, erase) {
  state.stroke = { kind: "stroke", size: size(), erase, points: [point] };
  layer().add(state.stroke);
  report(null);
  refresh();
}

function extend(point) {
  const { points } = state.stroke;
  const [x, y] = points.at(-1);
  if (x === point[0] && y === point[1]) return;
  points.push(point);
  layer().segment(state.stroke, points.length - 1);
}

const surface = $("#mask");
surface.addEventListener("pointerdown", (event) => {
  if (state.stroke || event.button > 2 || event.button === 1) return;
  event.preventDefault();
  surface.focus({ preventScroll: true });
  surface.setPointerCapture(event.pointerId);
  state.cursor = at(event);
  begin(state.cursor, state.tool === "eraser" || event.button === 2);
});
surface.addEventListener("pointermove", (event) => {
  state.cursor = at(event);
  $("#brush").hidden = false;
  showBrush();
  if (state.stroke) (event.getCoalescedEvents?.() ?? [event]).forEach((each) => extend(at(each)));
});
for (const kind of ["pointerup", "pointercancel"]) surface.addEventListener(kind, () => (state.stroke = null));
surface.addEventListener("pointerleave", () => ($("#brush").hidden = true));
surface.addEventListener("contextmenu", (event) => event.preventDefault());

// Zoom --------------------------------------------------------------------------------------------------------------------------

function layout() {
  const view = $("#viewport");
  const fit = Math.min((view.clientWidth - 2) / state.width, (view.clientHeight - 2) / state.height, MAX_ZOOM);
  const zoom = state.zoom ?? fit;
  Object.assign($("#stage").style, { width: `${state.width * zoom}px`, height: `${state.height * zoom}px` });
  $("#stage").classList.toggle("near", zoom >= 4);
  $("#zoom-fit").disabled = state.zoom === null;
  showBrush();
  return zoom;
}

function zoomBy(factor, x = $("#viewport").clientWidth / 2, y = $("#viewport").clientHeight / 2) {
  const view = $("#viewport");
  const before = layout();
  const stage = $("#stage");
  const [across, down] = [(view.scrollLeft + x - stage.offsetLeft) / before, (view.scrollTop + y - stage.offsetTop) / before];
  state.zoom = Math.min(MAX_ZOOM, Math.max(0.02, before * factor));
  const after = layout();
  view.scrollLeft = across * after + stage.offsetLeft - x;
  view.scrollTop = down * after + stage.offsetTop - y;
}

$("#viewport").addEventListener("wheel", (event) => {
  if (!event.ctrlKey && !event.metaKey) return;
  event.preventDefault();
  const box = $("#viewport").getBoundingClientRect();
  zoomBy(Math.exp(-event.deltaY / 400), event.clientX - box.left, event.clientY - box.top);
}, { passive: false });
$("#zoom-in").onclick = () => zoomBy(1.4);
$("#zoom-out").onclick = () => zoomBy(1 / 1.4);
$("#zoom-fit").onclick = () => { state.zoom = null; layout(); };
window.addEventListener("resize", layout);

// Fill --------------------------------------------------------------------------------------------------------------------------

async function painted() {
  if (!layers.mask.actions.length) throw new Error("nothing is painted; paint over what should be filled, or load a mask");
  return layers.mask.blob();
}

function removeCards() {
  document.querySelectorAll("#cards [download]").forEach((link) => URL.revokeObjectURL(link.href));
  $("#cards").replaceChildren();
  $("#results").hidden = true;
}

function addCard(method) {
  const card = $("#card").content.firstElementChild.cloneNode(true);
  card.querySelector("h3").textContent = method.label;
  card.querySelector(".wait").textContent = "waiting …";
  $("#cards").append(card);
  $("#results").hidden = false;
  return card;
}

function showResult(card, method, blob, image, seconds) {
  const compare = card.querySelector(".compare");
  const slider = compare.querySelector("input");
  compare.querySelector(".after").src = image.src;
  compare.querySelector(".before").src = state.shown;
  compare.classList.toggle("small", Math.max(state.width, state.height) < 160);
  slider.oninput = () => compare.style.setProperty("--cut", `${slider.value / 10}%`);
  compare.hidden = false;
  card.querySelector("h3").insertAdjacentHTML("beforeend", ` <span>${duration(seconds)}</span>`);
  card.querySelector(".wait").hidden = true;
  const name = `${stem(state.picture.name)}_${method.key}.png`;
  const download = card.querySelector("[download]");
  Object.assign(download, { href: image.src, download: name });
  card.querySelector(".link").href = image.src;
  card.querySelector(".continue").onclick = () => open(new File([blob], name, { type: "image/png" }));
  card.querySelector(".row").hidden = false;
}

function fill() {
  let current = "";
  return exclusively(() => `Filling with ${current},`, async (signal) => {
    const methods = chosen();
    if (!methods.length) throw new Error("no method is chosen; tick one");
    current = methods[0].label;
    const mask = await painted();
    const edges = layers.edges.actions.length ? await layers.edges.blob() : null;
    removeCards();
    const cards = methods.map(addCard);
    for (const [index, method] of methods.entries()) {
      const card = cards[index];
      current = method.label;
      card.querySelector(".wait").textContent = "filling …";
      try {
        const parts = { method: method.key, picture: state.picture, mask, ...(edges && method.edges ? { edges } : {}) };
        const response = await send("fill", parts, signal);
        const blob = await response.blob();
        showResult(card, method, blob, await decoded(blob), Number(response.headers.get("X-Seconds")));
      } catch (error) {
        card.querySelector(".wait").textContent = error.name === "AbortError" ? "canceled" : error.message;
        card.querySelector(".wait").classList.toggle("wrong", error.name !== "AbortError");
        if (methods.length === 1) throw error;
      }
      if (index === 0) $("#results").scrollIntoView({ behavior: still.matches ? "instant" : "smooth" });
    }
  });
}

function predictEdges() {
  return exclusively(() => "Predicting edges,", async (signal) => {
    const parts = { method: guided()[0].key, picture: state.picture, mask: await painted() };
    const response = await send("edges", parts, signal);
    layers.edges.add({ kind: "image", image: await createImageBitmap(await response.blob()) });
    chooseLayer("edges");
  });
}

function chooseLayer(name) {
  state.layer = name;
  if (name === "edges") setSize(Math.max(1, Math.round(Math.max(state.width, state.height) / 250)));
  refresh();
}

// Controls ----------------------------------------------------------------------------------------------------------------------

function change(action) {
  action();
  refresh();
}

$("#choose").onclick = $("#new").onclick = () => $("#picture-file").click();
$("#load-mask").onclick = () => $("#mask-file").click();
for (const [id, use] of [["#picture-file", open], ["#mask-file", openMask]]) {
  $(id).onchange = (event) => {
    const file = event.target.files[0];
    event.target.value = ""; // the same file may be chosen again
    if (file) use(file);
  };
}
$("#example").onclick = async () => {
  try {
    open(new File([await (await answer(fetch("example"))).blob()], "chelsea.png", { type: "image/png" }));
  } catch (error) {
    report(error);
  }
};
$("#undo").onclick = () => change(() => layer().undo());
$("#redo").onclick = () => change(() => layer().redo());
$("#clear").onclick = () => change(() => layer().actions.length && layer().add({ kind: "clear" }));
$("#invert").onclick = () => change(() => layers.mask.add({ kind: "invert" }));
$("#size").oninput = showBrush;
$("#fill").onclick = fill;
$("#cancel").onclick = () => state.running?.abort();
$("#predict-edges").onclick = predictEdges;
document.querySelectorAll("[data-tool]").forEach((button) => (button.onclick = () => change(() => (state.tool = button.dataset.tool))));
document.querySelectorAll("[data-layer]").forEach((button) => (button.onclick = () => chooseLayer(button.dataset.layer)));

document.addEventListener("keydown", (event) => {
  if ($("#editor").hidden || event.altKey) return;
  const typing = event.target.matches("input:not([type=checkbox])");
  const control = event.ctrlKey || event.metaKey;
  const key = event.key.toLowerCase();
  const moves = { arrowleft: [-1, 0], arrowright: [1, 0], arrowup: [0, -1], arrowdown: [0, 1] };
  if (control && key === "z") change(() => (event.shiftKey ? layer().redo() : layer().undo()));
  else if (control && key === "y") change(() => layer().redo());
  else if (control && key === "enter") fill();
  else if (control || typing) return;
  else if (key === "b" || key === "e") change(() => (state.tool = key === "b" ? "brush" : "eraser"));
  else if (key === "[" || key === "]") resize(key === "]" ? 1.2 : 1 / 1.2);
  else if (key === "+" || key === "=") zoomBy(1.4);
  else if (key === "-") zoomBy(1 / 1.4);
  else if (key === "0") $("#zoom-fit").click();
  else if (event.target === surface && key in moves) {
    const step = Math.max(1, Math.round(KEY_STEP * size()));
    const limits = [state.width, state.height];
    state.cursor = state.cursor.map((value, axis) => Math.min(limits[axis] - 0.5, Math.max(0.5, Math.floor(value + moves[key][axis] * step) + 0.5)));
    $("#brush").hidden = false;
    showBrush();
    if (state.stroke) extend(state.cursor);
  } else if (event.target === surface && key === " ") {
    if (!state.stroke) begin(state.cursor.map((value) => Math.floor(value) + 0.5), state.tool === "eraser");
    $("#brush").hidden = false;
  } else return;
  event.preventDefault();
});
surface.addEventListener("keyup", (event) => { if (event.key === " ") state.stroke = null; });
surface.addEventListener("focus", () => { $("#brush").hidden = false; showBrush(); });
surface.addEventListener("blur", () => { state.stroke = null; $("#brush").hidden = true; });

document.addEventListener("dragover", (event) => { event.preventDefault(); document.body.classList.add("over"); });
for (const kind of ["dragleave", "drop"]) document.addEventListener(kind, () => document.body.classList.remove("over"));
document.addEventListener("drop", (event) => { event.preventDefault(); take(event.dataTransfer.files); });
document.addEventListener("paste", (event) => take(event.clipboardData.files));

async function start() {
  const settings = await (await answer(fetch("settings"))).json();
  state.limits = settings;
  state.methods = settings.methods;
  for (const method of state.methods) {
    const label = document.createElement("label");
    const box = Object.assign(document.createElement("input"), { type: "checkbox", id: `method-${method.key}`, checked: method.selected, onchange: refresh });
    label.append(box, method.label);
    label.classList.toggle("classical", method.classical);
    $("#methods").append(label);
  }
  refresh();
}

start().catch(report);
