/** The strip of films at the left. */

import { byId, icon, make } from "./dom.js";
import { windowTable } from "./film.js";
import { freshView } from "./viewport.js";
import { verdict } from "./words.js";

const SIDE = 96;

/** Add a film's place to the strip; gives what updates it. */
export function addToStrip(entry, onChoose, onRemove) {
  const canvas = make("canvas", { width: SIDE, height: SIDE, "aria-hidden": "true" });
  const name = make("span", { class: "name" }, entry.name);
  const verdict = make("span", { class: "verdict" });
  const button = make("button", { type: "button", class: "thumb", onclick: () => onChoose(entry) }, canvas, make("span", { class: "words" }, name, verdict));
  const remove = make("button", { type: "button", class: "remove", "aria-label": `Remove ${entry.name}`, title: "Remove", onclick: () => onRemove(entry) }, icon("close"));
  const item = make("li", {}, button, remove);
  byId("films").append(item);
  let drawn = false;
  return {
    button,
    remove: () => item.remove(),
    update(slots, active) {
      item.classList.toggle("shown", slots.includes(entry));
      item.classList.toggle("active", entry === active);
      if (entry === active) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
      item.classList.toggle("fault", Boolean(entry.error));
      item.classList.toggle("busy", !entry.error && !entry.answer);
      verdict.textContent = verdictOf(entry);
      verdict.className = `verdict hue-${entry.answer?.predicted ?? "none"}`;
      button.title = `${entry.name}: ${verdictOf(entry)}`;
      if (entry.film && !drawn) {
        drawn = true;
        const scale = SIDE / Math.max(entry.width, entry.height);
        const [width, height] = [entry.width * scale, entry.height * scale];
        entry.film.draw(canvas.getContext("2d"), windowTable(freshView()), (SIDE - width) / 2, (SIDE - height) / 2, width, height);
      }
    },
  };
}

function verdictOf(entry) {
  if (entry.error) return "not read";
  if (!entry.answer) return entry.film ? "predicting" : "reading";
  // The class first: on a thin strip the end is cut off.
  return verdict(entry.answer);
}
