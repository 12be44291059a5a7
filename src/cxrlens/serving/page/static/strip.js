/** The strip of films at the left. */

import { byId, icon, make } from "./dom.js";
import { windowTable } from "./film.js";
import { freshView } from "./viewport.js";
import { say, unsure, verdict } from "./words.js";

const SIDE = 96;

/** Add a film's place to the strip; gives what updates it. */
export function addToStrip(entry, onChoose, onRemove) {
  const canvas = make("canvas", { width: SIDE, height: SIDE, "aria-hidden": "true" });
  const name = make("span", { class: "name" }, entry.name);
  const line = make("span", { class: "verdict" });
  const button = make("button", { type: "button", class: "thumb", onclick: () => onChoose(entry) }, canvas, make("span", { class: "words" }, name, line));
  const remove = make("button", { type: "button", class: "remove", onclick: () => onRemove(entry) }, icon("close"));
  const item = make("li", {}, button, remove);
  byId("films").append(item);
  let drawn = false;
  return {
    item,
    button,
    update(slots, active) {
      item.classList.toggle("shown", slots.includes(entry));
      item.classList.toggle("active", entry === active);
      if (entry === active) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
      item.classList.toggle("fault", Boolean(entry.error));
      item.classList.toggle("busy", !entry.error && !entry.answer);
      line.textContent = verdictOf(entry);
      line.className = `verdict hue-${entry.answer && !unsure(entry.answer) ? entry.answer.predicted : "none"}`;
      button.title = `${entry.name}: ${line.textContent}`;
      remove.title = say("film.remove", { name: entry.name });
      remove.setAttribute("aria-label", remove.title);
      // Drawn once: the film itself may be let go later.
      const source = entry.film ?? entry.small;
      if (source && !drawn) {
        drawn = true;
        entry.small = null;
        const { width, height } = source.levels[0];
        const scale = SIDE / Math.max(width, height);
        source.draw(canvas.getContext("2d"), windowTable(freshView()), (SIDE - width * scale) / 2, (SIDE - height * scale) / 2, width * scale, height * scale);
      }
    },
    get drawn() {
      return drawn;
    },
  };
}

/** Where a film stands, in two or three words. */
export function verdictOf(entry) {
  if (entry.error) return say("film.unread");
  if (entry.answer) return verdict(entry.answer);
  return say(entry.begun ? "film.predicting" : "film.waiting").toLowerCase();
}
