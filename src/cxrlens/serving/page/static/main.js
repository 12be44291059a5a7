/** The page: films, viewports, panel and keys tied together. */

import { call, formWith, onTokenNeeded } from "./api.js";
import { announce, byId, choices, make, pngOf, toast, visible } from "./dom.js";
import { Film, greyOf } from "./film.js";
import { Heat } from "./heat.js";
import { listenToKeys, listKeys } from "./keys.js";
import { Listing } from "./listing.js";
import { drawScale } from "./palette.js";
import { showEntry, showModel } from "./panel.js";
import { writeList, writeReport } from "./report.js";
import { addToStrip } from "./strip.js";
import { freshView, Viewport } from "./viewport.js";
import { WhatIf } from "./whatif.js";
import { capital, className, figure, LANGUAGES, methodName, nameMethods, say, sentence, speak, spoken, wanted } from "./words.js";

const AT_ONCE = 4;
/** Films whose pixels are kept: hundreds would fill the memory, and one that was let go is asked for again. */
const KEPT = 6;
/** From so many films on, what comes is shown as a list first. */
const MANY = 12;

const entries = [];
const state = { card: null, abilities: null, active: 0, compare: false };
const heat = new Heat(() => {
  showScale();
  redraw();
});
const look = { tool: "window", seen: false, lungs: true, heat, mapOf: (entry) => heat.mapOf(entry) };
const viewports = [0, 1].map((slot) => new Viewport(look, () => activate(slot), () => showTools()));
const whatIf = new WhatIf();
const current = () => viewports[state.active].entry;
const listing = new Listing(entries, (entry) => {
  show(entry);
  setList(false);
  viewports[state.active].root.focus();
}, () => {
  byId("films").append(...entries.map((entry) => entry.strip.item));
  listing.show();
});

function redraw() {
  for (const viewport of viewports) viewport.redraw();
}

function showTools() {
  const view = current()?.view;
  byId("invert").setAttribute("aria-pressed", String(Boolean(view?.invert)));
  byId("heat").setAttribute("aria-pressed", String(heat.on));
  byId("seen").setAttribute("aria-pressed", String(look.seen));
  byId("compare").setAttribute("aria-pressed", String(state.compare));
  byId("list").setAttribute("aria-pressed", String(!byId("listing").hidden));
  byId("list").disabled = !entries.length;
  byId("card").disabled = !state.card;
  for (const name of ["invert", "reset", "heat", "seen"]) byId(name).disabled = !current()?.film;
  byId("print").disabled = byId("listing").hidden ? !current()?.film : !state.card;
  // A slider that moves nothing must not look as if it did.
  const drawn = heat.on && !heat.withheld(current());
  for (const name of ["opacity-row", "legend"]) byId(name).classList.toggle("off", !drawn);
  byId("opacity").disabled = !drawn;
  showOpacity();
  byId("compare").disabled = entries.length < 2 && !state.compare;
}

/** Bring everything up to date with what is shown. */
function refresh() {
  const slots = viewports.map((viewport) => viewport.entry);
  for (const entry of entries) entry.strip.update(state.compare ? slots : [current()], current());
  viewports.forEach((viewport, slot) => viewport.root.classList.toggle("current", state.compare && slot === state.active));
  byId("empty").hidden = entries.length > 0;
  document.body.classList.toggle("has-films", entries.length > 0);
  listing.show();
  showEntry(current(), state.card, setSeen, look.seen);
  whatIf.show(current());
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
  byId("scale-low").textContent = say(signed ? "heat.against" : "heat.low");
  byId("scale-high").textContent = say(signed ? "heat.for" : "heat.high");
  const words = say(heat.withheld(current()) ? "heat.withheld" : signed ? "heat.signed" : "heat.brighter");
  byId("heat-words").textContent = map?.note ? `${words} ${map.note.replace(/[.]?$/, ".")}` : words;
  const none = current()?.answer && !current().answer.lungs?.length;
  byId("outline").disabled = Boolean(none);
  byId("outline-row").querySelector("span").textContent = say(none ? "heat.nolungs" : "heat.lungs");
}

function activate(slot) {
  if (state.active === slot) return;
  state.active = slot;
  refresh();
}

function show(entry) {
  viewports[state.active].show(entry);
  load(entry);
  refresh();
}

function setList(on) {
  byId("listing").hidden = !on;
  listing.show();
  showTools();
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
    load(other.entry);
  }
  layOut();
  announce(say(on ? "said.two" : "said.one"));
  refresh();
}

function setSeen(on) {
  look.seen = on;
  announce(say(on ? "said.seen" : "said.came"));
  refresh();
}

function setHeat(on) {
  if (on !== heat.on) announce(say(on ? "said.heat" : "said.noheat"));
  heat.on = on;
  if (!on) heat.cancel();
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
  choices(byId("targets"), "target", labels.map((label) => [label, capital(className(label))]), entry ? heat.target(entry) : null, setTarget);
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
  entry.strip.item.remove();
  entry.gone = true;
  if (state.compare && entries.length < 2) state.compare = false;
  const next = entries[Math.min(at, entries.length - 1)] ?? null;
  for (const viewport of viewports) if (viewport.entry === entry) viewport.show(next);
  load(next);
  if (!entries.length) setList(false);
  layOut();
  refresh();
  (next?.strip.button ?? byId("choose")).focus();
}

const waiting = [];
const recent = new Set();
let working = 0;

function addFiles(files) {
  const known = state.abilities;
  const fresh = [...files].map((file) => {
    const entry = { file, name: visible(file.name), view: freshView(), maps: new Map(), asked: new Set(), film: null, small: null, loading: false, begun: false, seen: null, answer: null, error: null, target: null };
    if (known && file.size > known.film_bytes) {
      entry.error = say("film.large", { size: figure(Math.ceil(file.size / 2 ** 20)), most: figure(Math.floor(known.film_bytes / 2 ** 20)) });
    }
    entry.strip = addToStrip(entry, show, remove);
    entries.push(entry);
    return entry;
  });
  if (!fresh.length) return;
  if (!current()) show(fresh[0]);
  else refresh();
  waiting.push(...fresh.filter((entry) => !entry.error));
  if (fresh.length >= MANY) setList(true);
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
  entry.begun = true;
  refresh();
  const answer = await call("/predict?seen=true&what_if=true", { method: "POST", body: formWith(entry.file) });
  const { films, digest, site } = await answer.json();
  const [told] = films;
  entry.seen = new Film(await greyOf(pngOf(told.seen.png)));
  delete told.seen.png;
  Object.assign(entry, { answer: told, width: told.width, height: told.height, model: { digest, site } });
  if (entry === current()) announce(`${entry.name}: ${sentence(told, state.card?.site)}`);
  if (entry.film || entry.loading || entry.strip.drawn) return;
  const picture = await call("/film?max_side=192", { method: "POST", body: formWith(entry.file) });
  entry.small = new Film(await greyOf(await picture.blob()));
}

/** Get the pixels of a film that is to be seen, and let go of those that were seen longest ago. */
async function load(entry) {
  if (!entry || entry.error) return;
  recent.delete(entry);
  recent.add(entry);
  if (entry.film || entry.loading) return;
  entry.loading = true;
  try {
    const picture = await call("/film?max_side=4096", { method: "POST", body: formWith(entry.file) });
    entry.film = new Film(await greyOf(await picture.blob()));
    entry.width = Number(picture.headers.get("x-film-width"));
    entry.height = Number(picture.headers.get("x-film-height"));
  } catch (error) {
    entry.error = error.message;
  }
  entry.loading = false;
  for (const old of [...recent].slice(0, -KEPT)) {
    if (viewports.some((viewport) => viewport.entry === old)) continue;
    recent.delete(old);
    old.film = null;
    old.maps.clear();
  }
  if (!entry.gone) refresh();
}

function print() {
  window.print();
}

function askForToken(wrong) {
  const dialog = byId("token-dialog");
  byId("token-fault").textContent = wrong ? say("token.wrong") : "";
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

function takeFiles() {
  addFiles(byId("files").files);
  byId("files").value = "";
}

function listen() {
  for (const name of ["open", "add", "choose"]) byId(name).addEventListener("click", () => byId("files").click());
  byId("files").addEventListener("change", takeFiles);
  byId("invert").addEventListener("click", () => viewports[state.active].invert());
  byId("reset").addEventListener("click", () => viewports[state.active].reset());
  byId("heat").addEventListener("click", () => setHeat(!heat.on));
  byId("seen").addEventListener("click", () => setSeen(!look.seen));
  byId("compare").addEventListener("click", () => setCompare(!state.compare));
  byId("print").addEventListener("click", print);
  byId("list").addEventListener("click", () => setList(byId("listing").hidden));
  byId("card").addEventListener("click", () => byId("card-dialog").showModal());
  byId("outline").addEventListener("change", (event) => {
    look.lungs = event.target.checked;
    redraw();
  });
  byId("language").addEventListener("change", (event) => setLanguage(event.target.value));
  byId("keys").addEventListener("click", () => byId("keys-dialog").showModal());
  byId("token-dialog").addEventListener("cancel", (event) => event.preventDefault());
  for (const radio of document.querySelectorAll("input[name=tool]")) radio.addEventListener("change", () => setTool(radio.value));
  byId("opacity").addEventListener("input", (event) => setOpacity(event.target.value / 100));
  window.addEventListener("beforeprint", () => {
    if (byId("listing").hidden) return writeReport(state.compare ? viewports.map((one) => one.entry) : [current()], state.card, look, heat);
    listing.draw();
    return writeList(state.card);
  });
  listenToDrops();
  listenToKeys({
    o: () => byId("files").click(), w: () => setTool("window"), p: () => setTool("pan"), z: () => setTool("zoom"),
    i: () => byId("invert").click(), r: () => byId("reset").click(), h: () => byId("heat").click(),
    l: () => byId("list").click(), m: () => byId("card").click(),
    b: () => byId("seen").click(), c: () => byId("compare").click(),
    j: () => step(1), k: () => step(-1),
    "[": () => setOpacity(heat.opacity - 0.1), "]": () => setOpacity(heat.opacity + 0.1),
    "?": () => byId("keys").click(),
    ...Object.fromEntries([1, 2, 3].map((n) => [String(n), () => state.card?.classes[n - 1] && setTarget(state.card.classes[n - 1])])),
  }, (event) => viewports[state.active].key(event));
}

function setOpacity(value) {
  heat.opacity = Math.min(Math.max(value, 0), 1);
  showOpacity();
  redraw();
}

function showOpacity() {
  byId("opacity").value = Math.round(100 * heat.opacity);
  byId("opacity-value").textContent = byId("opacity").disabled ? say("heat.off") : `${Math.round(100 * heat.opacity)} %`;
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

/** Ask for the card in the language that is spoken. */
async function readCard() {
  state.card = await (await call(`/model?lang=${spoken()}`)).json();
  listing.card = state.card;
}

/** Speak another language from here on; the address keeps it. */
async function setLanguage(code) {
  try {
    await speak(code);
    if (state.card) await readCard();
  } catch (error) {
    toast(error.message);
    return;
  }
  const address = new URL(location.href);
  address.searchParams.set("lang", code);
  history.replaceState(null, "", address);
  sayAll();
}

/** Write what is not written in the page's own file, in the language that is spoken. */
function sayAll() {
  byId("language").value = spoken();
  listKeys();
  for (const viewport of viewports) viewport.name();
  for (const name of ["methods", "targets", "whatif-diseases"]) for (const one of byId(name).querySelectorAll("label")) one.remove();
  if (state.card) {
    choices(byId("methods"), "method", heat.methods.map(({ name }) => [name, methodName(name)]), heat.method, setMethod);
    showModel(state.card);
  } else {
    byId("model").replaceChildren(make("p", { class: "quiet" }, say("model.loading")));
  }
  refresh();
}

async function start() {
  const { asked, code } = wanted();
  await speak(code);
  byId("language").replaceChildren(...Object.entries(LANGUAGES).map(([value, name]) => make("option", { value, lang: value }, name)));
  if (asked && code !== asked.toLowerCase().split("-")[0]) toast(say("language.none", { code: visible(asked), known: Object.values(LANGUAGES).join(", ") }));
  onTokenNeeded(askForToken);
  setTool("window");
  layOut();
  listen();
  takeFiles(); // Somebody may have chosen films before the page listened.
  sayAll();
  try {
    await readCard();
    state.abilities = await (await call("/abilities")).json();
    whatIf.offer(await (await call("/thresholds")).json());
  } catch (error) {
    toast(error.message);
    byId("model").replaceChildren(make("p", { class: "fault" }, error.message));
    return;
  }
  nameMethods(state.abilities.explanations);
  heat.offer(state.abilities.explanations, state.card.classes);
  look.site = state.card.site;
  document.title = `cxrlens · ${state.card.name}`;
  sayAll();
}

start();
