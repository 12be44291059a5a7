/** Words for the model's names: defects, repairs; those of methods come from the server. */

/** Name, what it means, and how it stands among what was not found. */
export const DEFECTS = {
  negative: ["Negative", "white and black are swapped"],
  underexposed: ["Underexposed", "too dark"],
  noisy: ["Noisy", "grain, speckle or spots"],
  blurred: ["Blurred", "motion or poor focus"],
  padded: ["Padded", "black or white borders"],
  patched: ["Patched", "covered areas"],
  photographed: ["Photographed", "photographs of films"],
  not_a_chest: ["Perhaps no frontal chest film", "", "other things than a frontal chest"],
  torn: ["Perhaps torn", "a part of the file was lost", "bytes lost in the middle"],
  burnt_in_text: ["Text in the picture", "letters or figures, a name perhaps", "burnt-in text"],
};

export const REPAIRS = {
  invert: "turned back to positive",
  equalise: "its contrast spread",
  stretch: "its greys stretched",
  smooth: "smoothed",
  denoise: "its noise taken out",
  sharpen: "sharpened",
  crop: "its borders cut off",
  fill: "its covered areas filled",
};

/** Why no class is named. */
const REASONS = {
  "no frontal chest": "it does not look like a frontal chest radiograph",
  "film quality": "a defect of the film that no repair mends",
  unlike: "it is unlike the films that the model has learnt from",
  "near the threshold": "its scores lie near the threshold between two answers",
};

export const unsure = (answer) => answer.predicted === "unsure";

export const whyUnsure = (answer) => REASONS[answer.reason] ?? answer.reason;

const titles = new Map();

/** Learn what the server calls its explaining methods. */
export function nameMethods(methods) {
  for (const { name, title } of methods) titles.set(name, title);
}

export const methodName = (method) => titles.get(method) ?? method;

export const capital = (words) => words.charAt(0).toUpperCase() + words.slice(1);

/** "a, b and c". */
export function listed(words) {
  return words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;
}

/** Findings that are there, in words. */
export const present = (answer) => answer.findings.filter((finding) => finding.present);

/** A probability to so many places; what rounds to 0 or 1 is neither. */
export function share(value, places = 3) {
  const least = 10 ** -places;
  if (value > 1 - least / 2) return `> ${(1 - least).toFixed(places)}`;
  if (value < least / 2) return `< ${least.toFixed(places)}`;
  return value.toFixed(places);
}

/** The model's decision and its probability, or why there is none: wherever a prediction becomes words, it is here. */
export function verdict(answer, { between = " ", places = 2 } = {}) {
  if (unsure(answer)) return `unsure: ${answer.reason}`;
  return `${answer.predicted}${between}${share(answer.probabilities[answer.predicted], places)}`;
}
