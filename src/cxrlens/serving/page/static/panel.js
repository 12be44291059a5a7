/** The panel at the right: probabilities, quality, the model. */

import { byId, make } from "./dom.js";
import { capital, DEFECTS, listed, present, REPAIRS, share, unsure, whyUnsure } from "./words.js";

const KNOWN = ["normal", "pneumonia", "tuberculosis"];

/** Fill the panel for a film, or empty it. */
export function showEntry(entry, card, onSeen, seen) {
  const focused = document.activeElement?.dataset.keep;
  byId("answer").replaceChildren(...answerOf(entry, card));
  byId("quality").replaceChildren(...qualityOf(entry, card, onSeen, seen));
  if (focused) document.querySelector(`[data-keep="${focused}"]`)?.focus();
}

function answerOf(entry, card) {
  if (!entry) return [make("p", { class: "quiet" }, "No film yet.")];
  if (entry.error) return [make("p", { class: "fault" }, entry.error)];
  if (!entry.answer) return [make("p", { class: "quiet busy" }, "Predicting")];
  const { answer } = entry;
  if (unsure(answer)) return [withheld(answer)];
  return [
    bars(answer),
    alone(answer),
    make("p", { class: "small quiet" }, votes(answer), calibration(answer, card),
    `The model knows ${listed(card?.classes ?? KNOWN)} and nothing else.`),
  ].filter(Boolean);
}

/** In place of the bars, where no class is named. */
export function withheld(answer) {
  return make("p", { class: "caution" }, make("strong", {}, "Unsure. "), `No class is named: ${whyUnsure(answer)}.`);
}

/** How the probabilities are to be read. */
export function calibration(answer, card) {
  if (card?.site) return `Calibrated for the site ${card.site}. `;
  return answer.calibrated
    ? "Calibrated on validation films, for classes that are equally frequent. "
    : "Not calibrated: 0.90 does not mean nine in ten. ";
}

/** The score of each disease by itself, from 0 to 100. */
export function alone(answer) {
  const told = Object.entries(answer.scores).map(([label, value]) => `${capital(label)} ${value.toFixed(0)} (named from ${answer.thresholds[label].toFixed(0)})`);
  return make("p", { class: "alone" }, make("strong", {}, "Score of each disease, 0 to 100: "), `${told.join(", ")}. A film can show both.`);
}

function votes(answer) {
  if (!answer.votes) return "";
  return `Votes: ${Object.entries(answer.votes).map(([label, count]) => `${label} ${count}`).join(", ")}. `;
}

/** A bar on a scale from 0 to 1 for each class. */
export function bars(answer) {
  const rows = Object.entries(answer.probabilities).map(([label, value]) => {
    const chosen = label === answer.predicted;
    const fill = make("span", { class: `fill hue-${KNOWN.includes(label) ? label : "other"}` });
    fill.style.width = `${100 * value}%`;
    return make(
      "li",
      { class: chosen ? "bar chosen" : "bar" },
      make("span", { class: "label" }, capital(label)),
      make("span", { class: "number" }, share(value)),
      make("span", {
        class: "track", role: "meter", "aria-label": `Probability of ${label}${chosen ? ", the highest" : ""}`,
        "aria-valuemin": 0, "aria-valuemax": 1, "aria-valuenow": value.toFixed(3),
      }, fill),
    );
  });
  const ticks = make("div", { class: "ticks", "aria-hidden": "true" }, ["0", "0.25", "0.5", "0.75", "1"].map((tick) => make("span", {}, tick)));
  return make("div", { class: "bars" }, make("ul", {}, rows), ticks);
}

function qualityOf(entry, card, onSeen, seen) {
  if (!entry?.answer) return [make("p", { class: "quiet" }, entry ? "" : "No film yet.")];
  const { answer } = entry;
  const found = present(answer);
  const clear = answer.findings.filter((finding) => !finding.present);
  const parts = [];
  if (found.length) {
    parts.push(make("ul", { class: "findings" }, found.map(({ defect, score }) => {
      const [name, words] = DEFECTS[defect] ?? [defect, ""];
      return make("li", {}, make("span", {}, make("strong", {}, name), words ? `, ${words}` : ""), make("span", { class: "number", title: "0.5 is the threshold" }, score.toFixed(2)));
    })));
  }
  if (clear.length) {
    const names = clear.map(({ defect }) => DEFECTS[defect]?.[2] ?? (DEFECTS[defect]?.[0] ?? defect).toLowerCase());
    parts.push(make("p", { class: "small quiet" }, `${found.length ? "Also looked" : "Looked"} for, not found: ${listed(names)}.`));
  }
  parts.push(make("p", {}, repaired(answer, card)));
  parts.push(make("div", { class: "segments pair", role: "group", "aria-label": "Which pixels are shown" }, [["As it came", false], ["As the model saw it", true]].map(
    ([words, value]) => make("button", { type: "button", class: "segment", "data-keep": `seen-${value}`, "aria-pressed": String(seen === value), onclick: () => onSeen(value) }, make("span", {}, words)),
  )));
  return parts;
}

/** What was repaired, in a sentence. */
export function repaired(answer, card) {
  if (answer.repairs.length) {
    return `The model saw it ${listed(answer.repairs.map((repair) => REPAIRS[repair] ?? repair))}.`;
  }
  if (card?.quality === "none") return "Nothing was repaired: this model was trained without repairs.";
  return "Nothing was repaired.";
}

const figure = (value) => value.toFixed(3);

/** A table of the model's own test. */
export function figuresOf(card) {
  const { tested } = card;
  return make(
    "table",
    { class: "figures" },
    make("caption", {}, `Measured on ${tested.films.toLocaleString("en")} ${tested.split} films of ${tested.patients.toLocaleString("en")} patients of the same sources`),
    make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "Figure"), make("th", { scope: "col" }, "Value"), make("th", { scope: "col" }, "95 % interval"))),
    make("tbody", {}, tested.figures.map(({ name, value, low, high }) =>
      make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, figure(value)), make("td", {}, low == null ? "–" : `${figure(low)}–${figure(high)}`)))),
  );
}

/** A table of who the model learnt from. */
export function trainedOn(card) {
  const detail = (row) => [
    row.patients && `${row.patients.toLocaleString("en")} patients`,
    row.age && `age ${row.age}`,
    row.female && `female ${row.female}`,
    row.views,
    Object.entries(row.sources).map(([name, count]) => `${name} ${count.toLocaleString("en")}`).join(", "),
  ].filter(Boolean).join("; ");
  return make(
    "table",
    { class: "figures people" },
    make("caption", {}, "Films of its training"),
    make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "Class"), make("th", { scope: "col" }, "Films"), make("th", { scope: "col" }, "Whose, from where"))),
    make("tbody", {}, card.trained_on.map((row) =>
      make("tr", {}, make("th", { scope: "row" }, capital(row.label)), make("td", {}, row.films.toLocaleString("en")), make("td", {}, detail(row))))),
  );
}

/** Facts of the model as a list. */
export function factsOf(card) {
  const facts = {
    Model: card.name,
    Network: card.backbone,
    "Started from": card.weights,
    "Sees films at": `${card.side} × ${card.side} pixels`,
    "Quality chain": card.quality,
    Digest: card.digest,
    ...(card.site ? { Site: card.site } : {}),
    "Made by": `cxrlens ${card.cxrlens}`,
  };
  return make("dl", { class: "facts" }, Object.entries(facts).map(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]).flat());
}

/** Fill the part about the model. */
export function showModel(card) {
  byId("model").replaceChildren(
    factsOf(card),
    ...card.warnings.map((warning) => make("p", { class: "caution" }, warning)),
    make("details", { open: true }, make("summary", {}, "How well it did"), card.tested ? figuresOf(card) : make("p", { class: "quiet" }, "It was not measured.")),
    make("details", {}, make("summary", {}, "Trained on whom"), make("p", { class: "small" }, card.population), card.trained_on.length ? trainedOn(card) : null),
  );
}
