/** The page's words: one JSON a language (`words/`), and the model's answers put into a sentence. */

/** Every language that there is, by its code. A new one: `words/CODE.json` with every key, and its name here. */
export const LANGUAGES = { en: "English", es: "Español" };

let words = {};
let language = "en";
const titles = new Map();

/** The language that is spoken, e.g. "en". */
export const spoken = () => language;

/** What the address asks for, else the first of the browser's languages that there is, else English. */
export function wanted() {
  const asked = new URLSearchParams(location.search).get("lang");
  const codes = [asked, ...(navigator.languages ?? [])].map((code) => code?.toLowerCase().split("-")[0]);
  return { asked, code: codes.find((code) => Object.hasOwn(LANGUAGES, code ?? "")) ?? "en" };
}

/** Fetch a language's words and dress the page in them. */
export async function speak(code) {
  const answer = await fetch(`/static/words/${code}.json`);
  if (!answer.ok) throw new Error(`words/${code}.json cannot be read: ${answer.status}`);
  words = await answer.json();
  language = code;
  document.documentElement.lang = code;
  for (const one of document.querySelectorAll("[data-say]")) one.textContent = say(one.dataset.say);
  for (const one of document.querySelectorAll("[data-say-title]")) one.title = say(one.dataset.sayTitle);
  for (const one of document.querySelectorAll("[data-say-label]")) one.setAttribute("aria-label", say(one.dataset.sayLabel));
}

const has = (key) => Object.hasOwn(words, key);

/** The words of a key, its {places} filled in. */
export function say(key, values = {}) {
  return (words[key] ?? key).replace(/\{(\w+)\}/g, (place, name) => values[name] ?? place);
}

/** The words of a name that the server gave, or the name itself where there are none. */
const named = (kind, name, otherwise = name) => (has(`${kind}.${name}`) ? say(`${kind}.${name}`) : otherwise);

/** A number with so many places, as the language writes it. */
export const figure = (value, places = 0) => value.toLocaleString(language, { minimumFractionDigits: places, maximumFractionDigits: places });

/** "1 year", "15 years". */
export const years = (age) => age.toLocaleString(language, { style: "unit", unit: "year", unitDisplay: "long", maximumFractionDigits: 0 });

/** A probability to so many places; what rounds to 0 or 1 is neither. */
export function share(value, places = 3) {
  const least = 10 ** -places;
  if (value > 1 - least / 2) return `>\u00a0${figure(1 - least, places)}`;
  if (value < least / 2) return `<\u00a0${figure(least, places)}`;
  return figure(value, places);
}

export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** "a, b and c". */
export const listed = (parts) => new Intl.ListFormat(language === "en" ? "en-GB" : language).format(parts);

/** A class in the reader's language. */
export const className = (label) => named("class", label);

/** Learn what the server calls its explaining methods. */
export function nameMethods(methods) {
  for (const { name, title } of methods) titles.set(name, title);
}

export const methodName = (method) => named("method", method, titles.get(method) ?? method);

export const defectName = (defect) => named("defect", defect);
export const defectMeaning = (defect) => named("defect.means", defect, "");

/** How a defect stands among what was not found. */
export const defectLooked = (defect) => named("defect.looked", defect, defectName(defect).toLowerCase());

/** A figure of the card, as "AUC, normal", by its name and its class. */
export const figureName = (name) => {
  const [what, label] = name.split(", ");
  return [named("figure", what), label && className(label)].filter(Boolean).join(", ");
};

export const splitName = (split) => named("split", split);

export const repairName = (repair) => named("repair", repair);

/** Findings that are there. */
export const present = (answer) => answer.findings.filter((finding) => finding.present);

/** Whether no class is named. */
export const unsure = (answer) => answer.predicted === "unsure";

/** Each disease's score, 0 to 100; empty where the model gives none or its answer is withheld. */
export const scores = (answer) => (unsure(answer) ? {} : answer.scores);

/** The answer in a sentence; where a prediction becomes words, it is here and in `verdict`. */
export function sentence(answer, site) {
  if (unsure(answer)) {
    const defects = answer.reason === "film quality" ? ` (${listed(present(answer).map(({ defect }) => defectLooked(defect)))})` : "";
    return say("answer.unsure", { why: named("reason", answer.reason) + defects });
  }
  const label = answer.predicted;
  const told = scores(answer);
  const threshold = (disease) => figure(answer.thresholds[disease]);
  const name = className(label);
  if (label in told) return say(site ? "answer.site" : "answer.score", { class: name, score: figure(told[label]), threshold: threshold(label) });
  if (!Object.keys(told).length) return say("answer.probability", { class: name, probability: share(answer.probabilities[label], 2) });
  const others = Object.entries(told).map(([disease, score]) => say("answer.of", { class: className(disease), score: figure(score), threshold: threshold(disease) }));
  return say("answer.normal", { class: name, others: others.join(", ") });
}

/** The same in two or three words, for lists and corners. */
export function verdict(answer) {
  if (unsure(answer)) return say("verdict.unsure", { why: named("reason.short", answer.reason) });
  const label = answer.predicted;
  const told = scores(answer);
  if (label in told) return `${className(label)} ${figure(told[label])}`;
  return Object.keys(told).length ? className(label) : `${className(label)} ${share(answer.probabilities[label], 2)}`;
}
