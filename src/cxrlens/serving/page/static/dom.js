/** Making elements; text is always text, never markup. */

/** Write out what acts in a name: control signs, and those that turn writing round. */
export function visible(text) {
  return text.replace(/(?![\u200c\u200d])[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu, (sign) => `\\u{${sign.codePointAt(0).toString(16)}}`);
}

/** Make an element with attributes (`class`, `aria-…`, `on…` as functions) and children. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child != null));
  return element;
}

export const byId = (id) => document.getElementById(id);

/** An icon of the page's sprite. */
export function icon(name) {
  const picture = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  picture.setAttribute("class", "icon");
  picture.setAttribute("aria-hidden", "true");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#i-${name}`);
  picture.append(use);
  return picture;
}

/** Say something to those who listen to the page. */
export function announce(words) {
  byId("live").textContent = words;
}

/** Save a file of this name. */
export function save(content, name) {
  const link = make("a", { href: URL.createObjectURL(content), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

let toastEnds = 0;

/** Show a fault for a while. */
export function toast(words) {
  const box = byId("toast");
  box.textContent = words;
  box.hidden = false;
  clearTimeout(toastEnds);
  toastEnds = setTimeout(() => {
    box.hidden = true;
  }, 8000);
}

/** A row of choices as radio buttons; made anew only where the options are others. */
export function choices(set, name, options, chosen, onChoose) {
  const held = [...set.querySelectorAll("input")];
  if (held.map((one) => one.value).join() === options.map(([value]) => value).join()) {
    for (const one of held) one.checked = one.value === chosen;
    return;
  }
  const legend = set.querySelector("legend");
  const buttons = options.map(([value, words]) =>
    make(
      "label",
      { class: "segment" },
      make("input", {
        type: "radio", name, value, class: "sr", checked: value === chosen,
        onchange: () => onChoose(value),
      }),
      make("span", {}, words),
    ),
  );
  set.replaceChildren(legend, ...buttons);
}

/** Bytes of a Base64 text as a PNG. */
export function pngOf(text) {
  const bytes = Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
  return new Blob([bytes], { type: "image/png" });
}
