/** The printable report of one film. */

import { byId, make } from "./dom.js";
import { alone, bars, calibration, factsOf, figuresOf, repaired, trainedOn, withheld } from "./panel.js";
import { freshView, paint } from "./viewport.js";
import { capital, DEFECTS, methodName, present, unsure, verdict } from "./words.js";

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
    ...(told.length ? [] : [make("p", {}, "There is no film to report on.")]),
  );
}

function reportOf(entry, card, look, heat) {
  const { answer } = entry;
  const still = { ...entry, view: { ...freshView(), ...entry.view, zoom: 1, x: 0, y: 0 } };
  const map = heat.on ? heat.mapOf(entry) : undefined;
  const films = [picture(still, { ...look, heat: { on: false } }, look.seen ? "As the model saw it" : "The film")];
  if (map) films.push(picture(still, { ...look, heat: { on: true, opacity: heat.opacity }, mapOf: () => map }, `${methodName(heat.method)}: ${map.signed ? "blue speaks for" : "what raised the score of"} ${heat.target(entry)}${map.signed ? ", orange against it" : ""}`));
  const found = present(answer).map(({ defect }) => (DEFECTS[defect]?.[0] ?? defect).toLowerCase());
  return make(
    "section",
    { class: "sheet" },
    make("header", {}, make("h2", {}, "Chest radiograph: what the model says"), make("p", { class: "use" }, "Research use, not a diagnosis")),
    make("dl", { class: "facts" }, make("dt", {}, "Film"), make("dd", {}, entry.name), make("dt", {}, "Printed"), make("dd", {}, new Date().toLocaleString()), make("dt", {}, "Read by"), make("dd", { class: "blank" }, "")),
    make("div", { class: films.length > 1 ? "pictures two" : "pictures" }, films),
    ...(unsure(answer)
      ? [make("h3", {}, "Not assessed"), withheld(answer)]
      : [make("h3", {}, `Highest: ${capital(verdict(answer, { between: ", ", places: 3 }))}`), bars(answer), alone(answer), make("p", {}, calibration(answer, card))]),
    make("p", {}, `Quality: ${found.length ? found.join(", ") : "no defect found"}. `, repaired(answer, card)),
    make("h3", {}, "The model"),
    factsOf(card),
    make("p", {}, card.population),
    ...card.warnings.map((warning) => make("p", { class: "caution" }, warning)),
    make("div", { class: "tables" }, card.tested ? figuresOf(card) : null, card.trained_on.length ? trainedOn(card) : null),
    make("p", { class: "use" }, card.notice),
  );
}
