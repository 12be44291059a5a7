/** Keys: a list for the reader, and one listener. Single keys can be switched off (WCAG 2.1.4). */

import { byId, make } from "./dom.js";
import { say } from "./words.js";

/** Keys, the words for them where they are no signs, and what they do. */
const LIST = [
  ["O", "tool.open"],
  ["J  K", "keys.next"],
  ["L", "keys.list"],
  ["W  P  Z", "keys.drag"],
  ["keys.arrows", "tool.pan"],
  ["keys.shift", "tool.window"],
  ["+  −", "tool.zoom"],
  ["I", "tool.invert"],
  ["R", "tool.reset"],
  ["H", "tool.heat"],
  ["1  2  3", "keys.class"],
  ["[  ]", "heat.opacity"],
  ["B", "keys.seen"],
  ["C", "said.two"],
  ["M", "card"],
  ["Ctrl + P", "tool.print.title"],
  ["?", "keys.this"],
  ["keys.wheel", "tool.zoom"],
  ["keys.buttons", "keys.any"],
  ["keys.double", "tool.reset"],
];

/** Write the list of keys. */
export function listKeys() {
  const signs = (keys) => keys.split("  ").map((one) => make("kbd", {}, say(one)));
  byId("keys-list").replaceChildren(...LIST.flatMap(([keys, does]) => [make("dt", {}, signs(keys)), make("dd", {}, say(does))]));
}

const typing = (element) => element.closest("input:not([type=radio]), textarea, select, dialog[open]");

/** Listen for single keys; those of the film go to `film` if the focus lies on no control. */
export function listenToKeys(keys, film) {
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
