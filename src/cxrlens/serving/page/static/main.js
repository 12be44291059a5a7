/** The page: films, viewports, panel and keys tied together. */

import { call, formWith, onTokenNeeded } from "./api.js";
import { announce, byId, choices, make, pngOf, toast, visible } from "./dom.js";
import { Film, greyOf } from "./film.js";
import { Heat } from "./heat.js";
import { listenToKeys } from "./keys.js";
import { drawScale } from "./palette.js";
import { showEntry, showModel } from "./panel.js";
import { writeReport } from "./report.js";
import { addToStrip } from "./strip.js";
import { freshView, Viewport } from "./viewport.js";
import { capital, nameMethods, verdict } from "./words.js";

const AT_ONCE = 4;

const entries = [];
const state = { card: null, abilities: null, active: 0, compare: false };
const heat = new Heat(() => {
  showScale();
  redraw();
});
const look = { tool: "window", seen: false, heat, mapOf: (entry) => heat.mapOf(entry) };
const viewports = [0, 1].map((slot) => new Viewport(look, () => activate(slot), () => showTools()));
const current = () => viewports[state.active].entry;

function redraw() {
  for (const viewport of viewports) viewport.redraw();
}

function showTools() {
  const view = current()?.view;
  byId("invert").setAttribute("aria-pressed", String(Boolean(view?.invert)));
  byId("heat").setAttribute("aria-pressed", String(heat.on));
  byId("seen").setAttribute("aria-pressed", String(look.seen));
  byId("compare").setAttribute("aria-pressed", String(state.compare));
  for (const name of ["invert", "reset", "heat", "seen", "print"]) byId(name).disabled = !current()?.film;
  byId("compare").disabled = entries.length < 2 && !state.compare;
}

/** Bring everything up to date with what is shown. */
function refresh() {
  const slots = viewports.map((viewport) => viewport.entry);
  for (const entry of entries) entry.strip.update(state.compare ? slots : [current()], current());
  viewports.forEach((viewport, slot) => viewport.root.classList.toggle("current", state.compare && slot === state.active));
  byId("empty").hidden = entries.length > 0;
  document.body.classList.toggle("has-films", entries.length > 0);
  showEntry(current(), state.card, setSeen, look.seen);
  showTargets();
  showScale();
  showTools();
  redraw();
  const quick = heat.chosen?.quick;
  for (const viewport of state.compare && quick ? viewports : [viewports[state.active]]) heat.want(viewport.entry);
}

/** Say how the map that is shown is to be read. */
function showScale() {
  const map = current() && heat.mapOf(current());
  const signed = Boolean(map?.signed);
  drawScale(byId("scale"), signed);
  byId("scale-low").textContent = signed ? "against" : "little";
  byId("scale-high").textContent = signed ? "for" : "much";
  const words = signed
    ? "Blue speaks for the class, orange against it. It does not outline a disease."
    : "Brighter raised the score of the class more. It does not outline a disease.";
  byId("heat-words").textContent = map?.note ? `${words} ${map.note.replace(/[.]?$/, ".")}` : words;
}

function activate(slot) {
  if (state.active === slot) return;
  state.active = slot;
  refresh();
}

function show(entry) {
  viewports[state.active].show(entry);
  refresh();
}

function layOut() {
  const place = byId("viewports");
  for (const viewport of viewports) viewport.root.remove();
  place.append(...(state.compare ? viewports : [viewports[state.active]]).map((viewport) => viewport.root));
  place.classList.toggle("two", state.compare);
}

function setCompare(on) {
  state.compare = on;
  const other = viewports[1 - state.active];
  if (on && (!other.entry || other.entry === current())) {
    other.show(entries[entries.indexOf(current()) + 1] ?? entries.find((entry) => entry !== current()) ?? null);
  }
  layOut();
  announce(on ? "Two films side by side" : "One film");
  refresh();
}

function setSeen(on) {
  look.seen = on;
  announce(on ? "Shown as the model saw it" : "Shown as it came");
  refresh();
}

function setHeat(on) {
  heat.on = on;
  if (!on) heat.cancel();
  announce(on ? "Heat map on" : "Heat map off");
  refresh();
}

function setMethod(method) {
  heat.method = method;
  document.querySelector(`input[name=method][value="${method}"]`).checked = true;
  setHeat(true);
}

function setTarget(label) {
  const entry = current();
  if (!entry) return;
  entry.target = label;
  setHeat(true);
}

function setTool(tool) {
  look.tool = tool;
  document.querySelector(`input[name=tool][value="${tool}"]`).checked = true;
  document.body.dataset.tool = tool;
}

function showTargets() {
  const entry = current();
  const labels = heat.targets;
  choices(byId("targets"), "target", labels.map((label) => [label, capital(label)]), entry ? heat.target(entry) : null, setTarget);
}

/** Go to another film, forwards or backwards. */
function step(by) {
  if (!entries.length) return;
  const at = entries.indexOf(current());
  const next = entries[(at + by + entries.length) % entries.length];
  show(next);
  next.strip.button.scrollIntoView({ block: "nearest", inline: "nearest" });
  announce(next.name);
}

function remove(entry) {
  const at = entries.indexOf(entry);
  entries.splice(at, 1);
  entry.strip.remove();
  entry.gone = true;
  if (state.compare && entries.length < 2) state.compare = false;
  const next = entries[Math.min(at, entries.length - 1)] ?? null;
  for (const viewport of viewports) if (viewport.entry === entry) viewport.show(next);
  layOut();
  refresh();
  (next?.strip.button ?? byId("choose")).focus();
}

const waiting = [];
let working = 0;

function addFiles(files) {
  const known = state.abilities;
  const fresh = [...files].map((file) => {
    const entry = { file, name: visible(file.name), view: freshView(), maps: new Map(), asked: new Set(), film: null, seen: null, answer: null, error: null, target: null };
    if (known && file.size > known.film_bytes) {
      entry.error = `The file has ${Math.ceil(file.size / 2 ** 20)} MB, the server takes ${Math.floor(known.film_bytes / 2 ** 20)} MB.`;
    }
    entry.strip = addToStrip(entry, show, remove);
    entries.push(entry);
    return entry;
  });
  if (!fresh.length) return;
  if (!current()) show(fresh[0]);
  else refresh();
  waiting.push(...fresh.filter((entry) => !entry.error));
  for (let i = working; i < AT_ONCE; i += 1) work();
}

async function work() {
  const entry = waiting.shift();
  if (!entry) return;
  working += 1;
  try {
    if (!entry.gone) await read(entry);
  } catch (error) {
    entry.error = error.message;
    announce(`${entry.name}: ${error.message}`);
  }
  working -= 1;
  if (viewports.some((viewport) => viewport.entry === entry)) {
    for (const viewport of viewports) if (viewport.entry === entry) viewport.show(entry);
  }
  if (!entry.gone) refresh();
  work();
}

async function read(entry) {
  const picture = await call("/film?max_side=4096", { method: "POST", body: formWith(entry.file) });
  const film = new Film(await greyOf(await picture.blob()));
  entry.width = Number(picture.headers.get("x-film-width"));
  entry.height = Number(picture.headers.get("x-film-height"));
  entry.film = film;
  refresh();
  const answer = await call("/predict?seen=true", { method: "POST", body: formWith(entry.file) });
  [entry.answer] = (await answer.json()).films;
  entry.seen = new Film(await greyOf(pngOf(entry.answer.seen.png)));
  announce(`${entry.name}: ${verdict(entry.answer, { between: ", probability " })}`);
}

function print() {
  window.print();
}

function askForToken(wrong) {
  const dialog = byId("token-dialog");
  byId("token-fault").textContent = wrong ? "That was not the token." : "";
  if (!dialog.open) dialog.showModal();
  return new Promise((done) => {
    byId("token-form").addEventListener("submit", (event) => {
      event.preventDefault();
      const token = byId("token").value.trim();
      byId("token").value = "";
      dialog.close();
      done(token);
    }, { once: true });
  });
}

function listen() {
  for (const name of ["open", "add", "choose"]) byId(name).addEventListener("click", () => byId("files").click());
  byId("files").addEventListener("change", (event) => {
    addFiles(event.target.files);
    event.target.value = "";
  });
  byId("invert").addEventListener("click", () => viewports[state.active].invert());
  byId("reset").addEventListener("click", () => viewports[state.active].reset());
  byId("heat").addEventListener("click", () => setHeat(!heat.on));
  byId("seen").addEventListener("click", () => setSeen(!look.seen));
  byId("compare").addEventListener("click", () => setCompare(!state.compare));
  byId("print").addEventListener("click", print);
  byId("keys").addEventListener("click", () => byId("keys-dialog").showModal());
  byId("token-dialog").addEventListener("cancel", (event) => event.preventDefault());
  for (const radio of document.querySelectorAll("input[name=tool]")) radio.addEventListener("change", () => setTool(radio.value));
  byId("opacity").addEventListener("input", (event) => setOpacity(event.target.value / 100));
  window.addEventListener("beforeprint", () => writeReport(state.compare ? viewports.map((one) => one.entry) : [current()], state.card, look, heat));
  listenToDrops();
  listenToKeys({
    o: () => byId("files").click(), w: () => setTool("window"), p: () => setTool("pan"), z: () => setTool("zoom"),
    i: () => byId("invert").click(), r: () => byId("reset").click(), h: () => byId("heat").click(),
    b: () => byId("seen").click(), c: () => byId("compare").click(),
    j: () => step(1), k: () => step(-1),
    "[": () => setOpacity(heat.opacity - 0.1), "]": () => setOpacity(heat.opacity + 0.1),
    "?": () => byId("keys").click(),
    ...Object.fromEntries([1, 2, 3].map((n) => [String(n), () => state.card?.classes[n - 1] && setTarget(state.card.classes[n - 1])])),
  }, (event) => viewports[state.active].key(event));
}

function setOpacity(value) {
  heat.opacity = Math.min(Math.max(value, 0), 1);
  byId("opacity").value = Math.round(100 * heat.opacity);
  byId("opacity-value").textContent = `${Math.round(100 * heat.opacity)} %`;
  redraw();
}

function listenToDrops() {
  let depth = 0;
  const veil = (on) => {
    byId("veil").hidden = !on;
  };
  window.addEventListener("dragenter", (event) => {
    event.preventDefault();
    depth += 1;
    veil(true);
  });
  window.addEventListener("dragleave", () => {
    depth -= 1;
    veil(depth > 0);
  });
  window.addEventListener("dragover", (event) => event.preventDefault());
  window.addEventListener("drop", (event) => {
    event.preventDefault();
    depth = 0;
    veil(false);
    addFiles(event.dataTransfer.files);
  });
}

async function start() {
  onTokenNeeded(askForToken);
  setTool("window");
  layOut();
  listen();
  refresh();
  try {
    state.card = await (await call("/model")).json();
    state.abilities = await (await call("/abilities")).json();
  } catch (error) {
    toast(error.message);
    byId("model").replaceChildren(make("p", { class: "fault" }, error.message));
    return;
  }
  nameMethods(state.abilities.explanations);
  heat.offer(state.abilities.explanations, state.card.classes);
  const methods = heat.methods.map((method) => [method.name, method.title]);
  choices(byId("methods"), "method", methods, heat.method, setMethod);
  showModel(state.card);
  document.title = `cxrlens · ${state.card.name}`;
  refresh();
}

start();
