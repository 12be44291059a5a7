/** The printable report of one film, and of all of them as a list. */

import { byId, make } from "./dom.js";
import { elsewhere, factsOf, measured, repaired, spokenAnswer, warningsOf } from "./panel.js";
import { freshView, paint } from "./viewport.js";
import { className, defectName, listed, methodName, present, say, spoken } from "./words.js";

const SIDE = 1100;

function picture(entry, look, words) {
  const scale = SIDE / Math.max(entry.width, entry.height);
  const canvas = make("canvas", { width: Math.round(entry.width * scale), height: Math.round(entry.height * scale) });
  paint(canvas.getContext("2d", { alpha: false }), entry, look, [0, 0, scale]);
  const image = make("img", { src: canvas.toDataURL("image/jpeg", 0.9), alt: words });
  return make("figure", {}, image, make("figcaption", {}, words));
}

/** Put the report of a film, or of two side by side, where the print stylesheet shows it. */
export function writeReport(entries, card, look, heat) {
  const told = entries.filter((entry) => entry?.answer && entry.film);
  byId("report").replaceChildren(
    ...told.map((entry) => reportOf(entry, card, look, heat)),
    ...(told.length ? [] : [make("p", {}, say("report.none"))]),
  );
}

/** Put the list, as it is sorted, where the print stylesheet shows it. */
export function writeList(card) {
  const table = byId("columns").closest("table").cloneNode(true);
  for (const one of table.querySelectorAll("[id]")) one.removeAttribute("id");
  for (const one of table.querySelectorAll("button")) one.replaceWith(one.firstChild);
  // The head is on every sheet.
  table.tHead.prepend(make("tr", {}, make("th", { class: "use", colspan: table.rows[0].cells.length }, say("told.notice"))));
  byId("report").replaceChildren(make("section", { class: "sheet" }, head("report.list"), make("p", {}, `${byId("counts").textContent}. ${new Date().toLocaleString(spoken())}`), table, ...aboutModel(card)));
}

const head = (title) => make("header", {}, make("h2", {}, say(title)), make("p", { class: "use" }, say("told.notice")));

const aboutModel = (card) => [
  make("h3", {}, say("model")),
  factsOf(card, false),
  ...warningsOf(card),
  make("p", { class: "fine" }, card.population),
  card.outside.length ? make("p", { class: "fine" }, elsewhere(card)) : null,
  card.tested ? make("p", { class: "fine" }, measured(card)) : null,
  make("p", { class: "use" }, card.notice),
];

function reportOf(entry, card, look, heat) {
  const { answer } = entry;
  const still = { ...entry, view: { ...freshView(), ...entry.view, zoom: 1, x: 0, y: 0 } };
  const map = heat.on ? heat.mapOf(entry) : undefined;
  const films = [picture(still, { ...look, lungs: false, heat: { on: false } }, say(look.seen ? "report.saw" : "report.film"))];
  if (map) {
    const words = say(map.signed ? "heat.spoke" : "heat.raised", { method: methodName(heat.method), class: className(heat.target(entry)) });
    const lungs = look.lungs && answer.lungs?.length ? `; ${say("report.lungs")}` : "";
    films.push(picture(still, { ...look, heat: { on: true, opacity: heat.opacity }, mapOf: () => map }, words + lungs));
  }
  const found = present(answer).map(({ defect }) => defectName(defect).toLowerCase());
  return make(
    "section",
    { class: "sheet" },
    head("report"),
    make("dl", { class: "facts" }, ["report.film", "report.printed", "report.reader"].map((key) => [
      make("dt", {}, say(key)),
      key === "report.reader" ? make("dd", { class: "blank" }, "") : make("dd", {}, key === "report.film" ? entry.name : new Date().toLocaleString(spoken())),
    ]).flat()),
    ...spokenAnswer(answer, card, true),
    make("p", {}, found.length ? say("quality.found", { defects: listed(found) }) : say("quality.clear"), " ", repaired(answer, card)),
    make("div", { class: films.length > 1 ? "pictures two" : "pictures" }, films),
    map?.note ? make("p", {}, map.note.replace(/[.]?$/, ".")) : null,
    ...aboutModel(card),
  );
}
