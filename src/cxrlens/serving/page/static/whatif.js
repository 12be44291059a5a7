/** What if the threshold were another: how well it would part films, and what this film's answer would be. */

import { byId, choices, make } from "./dom.js";
import { capital, className, figure, say } from "./words.js";

const percent = (value) => figure(100 * value, 1);
const rateWords = ({ value, low, high }) => say("whatif.rate", { value: percent(value), low: percent(low), high: percent(high) });

function rateBar(key, rate) {
  const band = make("span", { class: "fill hue-other" });
  band.style.left = `${100 * rate.low}%`;
  band.style.width = `${100 * (rate.high - rate.low)}%`;
  const mark = make("span", { class: "mark" });
  mark.style.left = `${100 * rate.value}%`;
  const track = make("span", { class: "track", "aria-hidden": "true" }, band, mark);
  return make("li", { class: "bar" }, make("span", { class: "label" }, say(key)), make("span", { class: "number" }, rateWords(rate)), track);
}

export class WhatIf {
  constructor() {
    this.entry = null;
    this.curves = {};
    byId("whatif-at").addEventListener("input", () => this.write());
    byId("whatif-own").addEventListener("click", () => this.choose(this.disease));
  }

  /** Take the answer of `/thresholds`; a model without curves says so. */
  offer({ diseases, site }) {
    this.curves = diseases;
    this.site = site;
    const [first] = Object.keys(diseases);
    byId("whatif-body").hidden = !first;
    byId("whatif-none").hidden = Boolean(first);
    if (first) this.choose(first);
  }

  /** Say it of another film, or of none, in the language that is spoken. */
  show(entry) {
    this.entry = entry;
    if (this.disease) this.write();
  }

  /** Begin at the threshold in use of a disease. */
  choose(disease) {
    this.disease = disease;
    const { thresholds, own } = this.curves[disease];
    const apart = thresholds.map(({ score }) => Math.abs(score - own));
    byId("whatif-at").max = thresholds.length - 1;
    byId("whatif-at").value = this.inUse = apart.indexOf(Math.min(...apart));
    this.write();
  }

  write() {
    const slider = byId("whatif-at");
    const curve = this.curves[this.disease];
    const { score, sensitivity, specificity } = curve.thresholds[slider.value];
    const name = className(this.disease);
    choices(byId("whatif-diseases"), "whatif", Object.keys(this.curves).map((label) => [label, capital(className(label))]), this.disease, (label) => this.choose(label));
    byId("whatif-score").textContent = figure(score);
    byId("whatif-rates").replaceChildren(rateBar("whatif.sensitivity", sensitivity), rateBar("whatif.specificity", specificity));
    byId("whatif-film").textContent = this.film(slider.value);
    byId("whatif-own").disabled = Number(slider.value) === this.inUse;
    const counts = ["films", "patients", "normals", "normal_patients"].map((key) => [key, figure(curve[key])]);
    byId("whatif-words").textContent = [
      say("whatif.only", { class: name, score: figure(curve.own) }),
      say("whatif.counted", { class: name, ...Object.fromEntries(counts) }),
      say(this.site ? "whatif.site" : "whatif.inside"),
    ].join(" ");
    slider.setAttribute("aria-valuetext", [
      say("whatif.at", { class: name, score: figure(score) }),
      `${say("whatif.sensitivity")} ${rateWords(sensitivity)}, ${say("whatif.specificity")} ${rateWords(specificity)}.`,
      this.film(slider.value),
    ].join(" "));
  }

  /** What this film's answer would be, in a sentence; empty where there is no film. */
  film(at) {
    const answers = this.entry?.answer?.what_if?.[this.disease];
    if (!answers) return "";
    if (answers.every((one) => one === "unsure")) return say("whatif.film.never");
    const words = answers[at] === "unsure" ? say("whatif.unsure") : className(answers[at]);
    return say(answers[at] === this.entry.answer.predicted ? "whatif.film.same" : "whatif.film", { answer: words });
  }
}
