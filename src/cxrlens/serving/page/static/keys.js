/** Keys: a list for the reader, and one listener. Single keys can be switched off (WCAG 2.1.4). */

import { byId, make } from "./dom.js";

const LIST = [
  ["O", "Open films"],
  ["J  K", "Next film, film before"],
  ["W  P  Z", "Dragging sets the window, pans, zooms"],
  ["Arrow keys", "Pan"],
  ["Shift + arrow keys", "Window and level"],
  ["+  −", "Zoom"],
  ["I", "Invert"],
  ["R", "Reset the view"],
  ["H", "Heat map"],
  ["1  2  3", "Heat map for a class"],
  ["[  ]", "Opacity of the heat map"],
  ["B", "As it came, as the model saw it"],
  ["C", "Two films side by side"],
  ["Ctrl + P", "Print a report"],
  ["?", "This list"],
  ["Wheel", "Zoom"],
  ["Right, middle button", "Zoom, pan, whatever the tool"],
  ["Double click", "Reset the view"],
];

const typing = (element) => element.closest("input:not([type=radio]), textarea, select, dialog[open]");

/** Listen for single keys; those of the film go to `film` if the focus lies on no control. */
export function listenToKeys(keys, film) {
  byId("keys-list").replaceChildren(...LIST.flatMap(([sign, words]) => [make("dt", {}, sign.split("  ").map((one) => make("kbd", {}, one))), make("dd", {}, words)]));
  document.addEventListener("keydown", (event) => {
    if (!byId("keys-on").checked || event.ctrlKey || event.metaKey || event.altKey) return;
    if (typing(event.target)) return;
    const act = keys[event.key.toLowerCase()];
    if (act) {
      event.preventDefault();
      act();
    } else if (event.target === document.body && film(event)) {
      event.preventDefault();
    }
  });
}
