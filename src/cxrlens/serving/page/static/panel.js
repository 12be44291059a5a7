/** The panel at the right: the answer in words, its scores, quality, the model; and the trust card. */

import { call } from "./api.js";
import { byId, make, save, toast } from "./dom.js";
import { capital, className, defectLooked, defectMeaning, defectName, figure, figureName, listed, present, repairName, say, scores, sentence, share, splitName, spoken, unsure, years } from "./words.js";

const KNOWN = ["normal", "pneumonia", "tuberculosis"];

/** Attributes of what the server wrote, which it does in English. */
const english = () => (spoken() === "en" ? {} : { lang: "en" });

const hue = (label) => `hue-${KNOWN.includes(label) ? label : "other"}`;

/** Fill the panel for a film, or empty it. */
export function showEntry(entry, card, onSeen, seen) {
  const focused = document.activeElement?.dataset.keep;
  const open = byId("answer").querySelector("details")?.open;
  byId("answer").replaceChildren(...answerOf(entry, card, open));
  byId("quality").replaceChildren(...qualityOf(entry, card, onSeen, seen));
  if (focused) document.querySelector(`[data-keep="${focused}"]`)?.focus();
}

function answerOf(entry, card, open) {
  if (!entry) return [make("p", { class: "quiet" }, say("nothing"))];
  if (entry.error) return [make("p", { class: "fault", ...english() }, entry.error)];
  if (!entry.answer) return [make("p", { class: "quiet busy" }, say("film.predicting"))];
  return spokenAnswer(entry.answer, card, open);
}

/** The answer: a sentence, then its scores; nothing but the sentence where it is withheld. */
export function spokenAnswer(answer, card, open) {
  const head = make("p", { class: unsure(answer) ? "headline withheld" : `headline ${hue(answer.predicted)}` }, sentence(answer, card?.site));
  if (unsure(answer)) return [head, make("p", { class: "small quiet" }, say("answer.withheld"))];
  const told = Object.keys(scores(answer)).length > 0;
  const about = make("p", { class: "small quiet" }, [votes(answer), calibration(answer, card), say("answer.knows", { classes: listed((card?.classes ?? KNOWN).map(className)) })].filter(Boolean).join(" "));
  if (!told) return [head, doubt(answer), bars(answer), about].filter(Boolean);
  const more = make("details", { open: Boolean(open) }, make("summary", { "data-keep": "shares" }, say("probabilities")), bars(answer), about);
  return [head, doubt(answer), scoreBars(answer), make("p", { class: "small quiet" }, say("answer.both")), more].filter(Boolean);
}

/** Warn where the film is perhaps no chest; null where it is one. */
function doubt(answer) {
  if (!answer.findings.some((finding) => finding.defect === "not_a_chest" && finding.present)) return null;
  return make("p", { class: "caution" }, say("answer.doubt"));
}

function calibration(answer, card) {
  if (card?.site) return say("calibrated.site", { site: card.site });
  return say(answer.calibrated ? "calibrated.yes" : "calibrated.no");
}

function votes(answer) {
  if (!answer.votes) return "";
  return say("answer.votes", { votes: Object.entries(answer.votes).map(([label, count]) => `${className(label)} ${count}`).join(", ") });
}

function bar(label, chosen, number, words, value, most, mark) {
  const fill = make("span", { class: `fill ${hue(label)}` });
  fill.style.width = `${(100 * value) / most}%`;
  const track = make("span", { class: "track", role: "meter", "aria-label": words, "aria-valuemin": 0, "aria-valuemax": most, "aria-valuenow": value.toFixed(3) }, fill);
  if (mark != null) {
    track.append(make("span", { class: "mark" }));
    track.lastChild.style.left = `${(100 * mark) / most}%`;
  }
  return make("li", { class: chosen ? "bar chosen" : "bar" }, make("span", { class: "label" }, capital(className(label))), make("span", { class: "number" }, number), track);
}

const scale = (ticks) => make("div", { class: "ticks", "aria-hidden": "true" }, ticks.map((tick) => make("span", {}, tick)));

/** A bar from 0 to 100 for each disease, with a mark where it begins to be named. */
function scoreBars(answer) {
  const rows = Object.entries(scores(answer)).map(([label, value]) => {
    const threshold = answer.thresholds[label];
    const words = say("score.of", { class: className(label), threshold: figure(threshold) });
    const number = [figure(value), make("small", {}, ` ${say("score.threshold", { threshold: figure(threshold) })}`)];
    return bar(label, label === answer.predicted, number, words, value, 100, threshold);
  });
  return make("div", { class: "bars scores" }, make("ul", {}, rows), scale(["0", "25", "50", "75", "100"]));
}

/** A bar from 0 to 1 for each class. */
function bars(answer) {
  const rows = Object.entries(answer.probabilities).map(([label, value]) => {
    const chosen = label === answer.predicted;
    return bar(label, chosen, share(value), say(chosen ? "probability.highest" : "probability.of", { class: className(label) }), value, 1);
  });
  return make("div", { class: "bars shares" }, make("ul", {}, rows), scale([0, 0.25, 0.5, 0.75, 1].map((tick) => tick.toLocaleString(spoken()))));
}

function qualityOf(entry, card, onSeen, seen) {
  if (!entry?.answer) return [make("p", { class: "quiet" }, entry ? "" : say("nothing"))];
  const { answer } = entry;
  const found = present(answer);
  const clear = answer.findings.filter((finding) => !finding.present);
  const parts = [];
  if (found.length) {
    parts.push(make("ul", { class: "findings" }, found.map(({ defect, score }) => {
      const words = defectMeaning(defect);
      return make("li", {}, make("span", {}, make("strong", {}, defectName(defect)), words ? `, ${words}` : ""), make("span", { class: "number", title: say("quality.threshold") }, figure(score, 2)));
    })));
  }
  if (clear.length) {
    const names = clear.map(({ defect }) => defectLooked(defect));
    parts.push(make("p", { class: "small quiet" }, say(found.length ? "quality.also" : "quality.looked", { defects: listed(names) })));
  }
  parts.push(make("p", {}, repaired(answer, card)));
  parts.push(make("div", { class: "segments pair", role: "group", "aria-label": say("quality.shown") }, [["quality.came", false], ["quality.saw", true]].map(
    ([key, value]) => make("button", { type: "button", class: "segment", "data-keep": `seen-${value}`, "aria-pressed": String(seen === value), onclick: () => onSeen(value) }, make("span", {}, say(key))),
  )));
  return parts;
}

/** What was repaired, in a sentence. */
export function repaired(answer, card) {
  if (answer.repairs.length) return say("repaired", { repairs: listed(answer.repairs.map(repairName)) });
  return say(card?.quality === "none" ? "repaired.never" : "repaired.not");
}

const head = (...keys) => make("thead", {}, make("tr", {}, keys.map((key) => make("th", { scope: "col" }, say(key)))));

const measuredOn = ({ films, split, patients }) => say("card.measured", { films: figure(films), split: splitName(split), patients: figure(patients) });
const span = ({ low, high }) => (low == null ? "–" : `${figure(low, 3)}–${figure(high, 3)}`);

/** The model's own test in a paragraph, for paper. */
export const measured = ({ tested }) =>
  `${measuredOn(tested)} ${tested.figures.map((one) => `${figureName(one.name)} ${figure(one.value, 3)} (${span(one)})`).join("; ")}.`;

/** How it did at places that training never saw, for paper. */
export const elsewhere = ({ outside }) =>
  `${say("card.outside")}, AUC: ${outside.map((one) => `${className(one.disease)}, ${one.place} ${figure(one.auc, 3)} (${span(one)})`).join("; ")}.`;

function figuresOf({ tested }) {
  return make(
    "table",
    { class: "figures" },
    make("caption", {}, measuredOn(tested)),
    head("card.figure", "card.value", "card.interval"),
    make("tbody", {}, tested.figures.map((one) =>
      make("tr", {}, make("th", { scope: "row" }, figureName(one.name)), make("td", {}, figure(one.value, 3)), make("td", {}, span(one))))),
  );
}

/** The AUCs at places that training never saw. */
function outsideOf({ outside }) {
  return make(
    "table",
    { class: "figures" },
    make("caption", {}, say("card.outside.measured")),
    head("card.figure", "card.value", "card.interval"),
    make("tbody", {}, outside.map((one) =>
      make("tr", {}, make("th", { scope: "row" }, `${capital(className(one.disease))}, ${one.place}`), make("td", {}, figure(one.auc, 3)), make("td", {}, span(one))))),
  );
}

const female = (told) => {
  const [share, count] = told.split(" of ");
  return { share, count: figure(Number(count.replaceAll(",", ""))) };
};

function trainedOn(card) {
  const detail = (row) => [
    row.patients && say("card.patients", { count: figure(row.patients) }),
    row.age && say("card.age", { age: row.age }),
    row.female && say("card.female", female(row.female)),
    row.views,
    Object.entries(row.sources).map(([name, count]) => `${name} ${figure(count)}`).join(", "),
  ].filter(Boolean).join("; ");
  return make(
    "table",
    { class: "figures people" },
    make("caption", {}, say("card.films")),
    head("card.class", "films", "card.whose"),
    make("tbody", {}, card.trained_on.map((row) =>
      make("tr", {}, make("th", { scope: "row" }, capital(className(row.label))), make("td", {}, figure(row.films)), make("td", {}, detail(row))))),
  );
}

/** Facts of the model as a list; the most needed ones, or all. */
export function factsOf(card, all) {
  const facts = [
    ["model.name", card.name],
    ["model.digest", card.digest],
    ["model.site", card.site],
    ...(all ? [
      ["model.network", card.backbone],
      ["model.weights", card.weights],
      ["model.side", say("model.pixels", { side: card.side })],
      ["model.quality", card.quality],
      ["model.youngest", Object.entries(card.youngest_of).map(([label, age]) => `${className(label)} ${figure(age)}`).join(", ")],
      ["model.made", `cxrlens ${card.cxrlens}`],
    ] : []),
  ].filter(([, value]) => value);
  return make("dl", { class: "facts" }, facts.map(([key, value]) => [make("dt", {}, say(key)), make("dd", {}, value)]).flat());
}

/** The card's warnings, what was never measured first. */
export function warningsOf(card) {
  return [
    card.tested ? null : make("p", { class: "caution red" }, say("card.untested")),
    card.outside.length ? null : make("p", { class: "caution red" }, say("card.nowhere")),
    ...card.warnings.map((warning) => make("p", { class: "caution" }, warning)),
  ].filter(Boolean);
}

/** What the model is for, and what it is not for. */
function usesOf({ classes, youngest_of }) {
  const youngest = Object.entries(youngest_of).map(([label, age]) => say("card.youngest", { age: years(age), class: className(label) }));
  const scope = say("card.scope", { classes: listed(classes.slice(1).map(className)), youngest: youngest.length ? listed(youngest) : say("card.youngest.unknown") });
  return [say("card.intended"), say("card.not", { scope: scope.charAt(0).toLowerCase() + scope.slice(1) })];
}

/** Save the whole card: a link to it could not send the token, and its style would not be let in here. */
async function saveCard() {
  try {
    save(await (await call("/model/card")).blob(), "trust-card.html");
  } catch (error) {
    toast(error.message);
  }
}

/** Fill the part about the model, and its trust card. */
export function showModel(card) {
  const warnings = warningsOf(card);
  byId("model").replaceChildren(
    factsOf(card, false),
    warnings.length ? make("p", { class: "caution" }, say("card.warnings", { count: warnings.length })) : "",
    make("button", { type: "button", class: "plain", onclick: () => byId("card-dialog").showModal() }, say("card.open")),
  );
  byId("card-body").replaceChildren(
    ...warnings,
    factsOf(card, true),
    make("p", {}, make("button", { type: "button", class: "plain", id: "card-save", onclick: saveCard }, say("card.whole"))),
    card.outside.length ? make("h3", {}, say("card.outside")) : "",
    card.outside.length ? outsideOf(card) : "",
    card.tested ? make("h3", {}, say("card.results")) : "",
    card.tested ? figuresOf(card) : "",
    make("h3", {}, say("card.people")),
    make("p", { class: "small" }, card.population),
    card.trained_on.length ? trainedOn(card) : "",
    make("h3", {}, say("card.uses")),
    ...usesOf(card).map((use) => make("p", { class: "small" }, use)),
    make("p", { class: "small" }, card.notice),
  );
}
