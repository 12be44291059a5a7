/** One viewport: a film with its window, zoom and pan, the heat map over it, mouse, touch and keys. */

import { windowTable } from "./film.js";
import { say, sentence } from "./words.js";

const FULL = { centre: 127.5, width: 255 };
const STEP = 40;

/** How a film is looked at; each film keeps its own. */
export const freshView = () => ({ ...FULL, zoom: 1, x: 0, y: 0, invert: false });

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

export class Viewport {
  /**
   * @param {object} look What all viewports share: tool, seen, heat {on, opacity}, mapOf(entry).
   * @param {function} onFocus Called when this viewport is taken up.
   * @param {function} onChange Called when its view changed.
   */
  constructor(look, onFocus, onChange) {
    Object.assign(this, { look, onFocus, onChange, entry: null, waiting: false, pointers: new Map() });
    this.root = document.createElement("div");
    this.root.className = "viewport";
    this.root.tabIndex = 0;
    this.root.setAttribute("role", "application");
    this.canvas = document.createElement("canvas");
    this.canvas.setAttribute("aria-hidden", "true");
    this.root.append(this.canvas);
    this.words = {};
    for (const place of ["name", "size", "view", "notice"]) {
      this.words[place] = document.createElement("p");
      this.words[place].className = `corner ${place}`;
      this.root.append(this.words[place]);
    }
    this.context = this.canvas.getContext("2d", { alpha: false });
    new ResizeObserver(() => this.redraw()).observe(this.root);
    this.listen();
    this.show(null);
  }

  show(entry) {
    this.entry = entry;
    this.name();
    this.redraw();
  }

  /** Say what this is, in the language that is spoken. */
  name() {
    this.root.setAttribute("aria-roledescription", say("film.viewer"));
    this.root.setAttribute("aria-label", this.entry ? say("film.about", { name: this.entry.name }) : say("film.none"));
    this.words.notice.textContent = say("told.notice");
  }

  redraw() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.draw();
    });
  }

  /** Screen pixels of a film's pixel when the film just fits. */
  fit() {
    const { width, height } = this.entry;
    return Math.min(this.root.clientWidth / width, this.root.clientHeight / height);
  }

  draw() {
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [this.root.clientWidth, this.root.clientHeight].map((side) => Math.round(side * ratio));
    if (this.canvas.width !== width || this.canvas.height !== height) {
      this.canvas.width = width;
      this.canvas.height = height;
    }
    this.context.fillStyle = "#000";
    this.context.fillRect(0, 0, width, height);
    const { entry } = this;
    this.root.classList.toggle("blank", !entry?.film);
    if (!entry?.film) {
      this.say(entry?.error ?? (entry ? say("film.reading") : ""), "", "");
      return;
    }
    const scale = this.fit() * entry.view.zoom;
    const left = (this.root.clientWidth - entry.width * scale) / 2 + entry.view.x;
    const top = (this.root.clientHeight - entry.height * scale) / 2 + entry.view.y;
    paint(this.context, entry, this.look, [left, top, scale].map((value) => value * ratio));
    const seen = this.look.seen && entry.seen;
    this.say(
      entry.name,
      `${entry.width} × ${entry.height}${seen ? `\n${say("film.view", { side: entry.answer.seen.side })}` : ""}`,
      `W ${Math.round(entry.view.width)}  L ${Math.round(entry.view.centre)}${entry.view.invert ? `  ${say("film.inverted")}` : ""}\n${Math.round(scale * 100)} %`,
    );
  }

  say(name, size, view) {
    const best = this.entry?.answer;
    this.words.name.textContent = best ? `${name}\n${sentence(best, this.look.site)}` : name;
    this.words.size.textContent = size;
    this.words.view.textContent = view;
  }

  changed() {
    this.redraw();
    this.onChange(this);
  }

  pan(x, y) {
    this.entry.view.x += x;
    this.entry.view.y += y;
    this.changed();
  }

  /** Zoom about a point of the viewport, by default its middle. */
  zoom(factor, x = this.root.clientWidth / 2, y = this.root.clientHeight / 2) {
    const { view } = this.entry;
    const zoom = clamp(view.zoom * factor, 0.25, 40);
    const [fromX, fromY] = [x - this.root.clientWidth / 2, y - this.root.clientHeight / 2];
    view.x = fromX - ((fromX - view.x) * zoom) / view.zoom;
    view.y = fromY - ((fromY - view.y) * zoom) / view.zoom;
    view.zoom = zoom;
    this.changed();
  }

  /** Right is wider, that is softer; up is brighter. */
  window(across, down) {
    const { view } = this.entry;
    view.width = clamp(view.width + across, 2, 510);
    view.centre = clamp(view.centre + down, -64, 320);
    this.changed();
  }

  invert() {
    this.entry.view.invert = !this.entry.view.invert;
    this.changed();
  }

  reset() {
    Object.assign(this.entry.view, freshView());
    this.changed();
  }

  /** Keys of the film itself; true if the key was one. */
  key(event) {
    if (!this.entry?.film || event.ctrlKey || event.metaKey || event.altKey) return false;
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (way && event.shiftKey) this.window(8 * way[0], 4 * way[1]);
    else if (way) this.pan(-STEP * way[0], -STEP * way[1]);
    else if (event.key === "+" || event.key === "=") this.zoom(1.25);
    else if (event.key === "-") this.zoom(0.8);
    else return false;
    return true;
  }

  listen() {
    const { root } = this;
    root.addEventListener("focus", () => this.onFocus(this));
    root.addEventListener("keydown", (event) => {
      if (this.key(event)) {
        event.preventDefault();
        event.stopPropagation();
      }
    });
    root.addEventListener("wheel", (event) => {
      event.preventDefault();
      const box = root.getBoundingClientRect();
      if (this.entry?.film) this.zoom(Math.exp(-event.deltaY * 0.0015), event.clientX - box.left, event.clientY - box.top);
    }, { passive: false });
    root.addEventListener("contextmenu", (event) => event.preventDefault());
    root.addEventListener("dblclick", () => this.entry?.film && this.reset());
    root.addEventListener("pointerdown", (event) => {
      this.onFocus(this);
      root.focus({ preventScroll: true });
      root.setPointerCapture(event.pointerId);
      this.pointers.set(event.pointerId, event);
    });
    root.addEventListener("pointermove", (event) => this.move(event));
    for (const end of ["pointerup", "pointercancel"]) {
      root.addEventListener(end, (event) => this.pointers.delete(event.pointerId));
    }
  }

  move(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before || !this.entry?.film) return;
    const [x, y] = [event.clientX - before.clientX, event.clientY - before.clientY];
    if (this.pointers.size === 2) {
      this.pinch(event, before);
    } else {
      const tool = { 2: "zoom", 4: "pan" }[event.buttons] ?? this.look.tool;
      if (tool === "pan") this.pan(x, y);
      else if (tool === "zoom") this.zoom(Math.exp(-y * 0.006));
      else this.window(x, y * 0.6);
    }
    this.pointers.set(event.pointerId, event);
  }

  pinch(event, before) {
    const other = [...this.pointers.values()].find((one) => one.pointerId !== event.pointerId);
    const apart = (one) => Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY);
    const box = this.root.getBoundingClientRect();
    this.pan((event.clientX - before.clientX) / 2, (event.clientY - before.clientY) / 2);
    this.zoom(
      apart(event) / Math.max(apart(before), 1),
      (event.clientX + other.clientX) / 2 - box.left,
      (event.clientY + other.clientY) / 2 - box.top,
    );
  }
}

/** Paint a film, or what the model saw of it, and its heat map; the place is [left, top, scale]. */
export function paint(context, entry, look, [left, top, scale]) {
  const table = windowTable(entry.view);
  if (look.seen && entry.seen) {
    const [above, below, before, after] = entry.answer.seen.cropped;
    entry.seen.draw(
      context,
      table,
      left + before * scale,
      top + above * scale,
      (entry.width - before - after) * scale,
      (entry.height - above - below) * scale,
    );
  } else {
    entry.film.draw(context, table, left, top, entry.width * scale, entry.height * scale);
  }
  const map = look.heat.on && look.mapOf(entry);
  if (map) {
    context.globalAlpha = look.heat.opacity;
    context.imageSmoothingEnabled = true;
    context.imageSmoothingQuality = "high";
    context.drawImage(map, left, top, entry.width * scale, entry.height * scale);
    context.globalAlpha = 1;
  }
  if (look.lungs) outline(context, entry, left, top, scale);
}

/** Draw the outline of the lungs: dashed, light upon dark, so that it shows on every film. */
function outline(context, entry, left, top, scale) {
  const [width, height] = [entry.width * scale, entry.height * scale];
  context.save();
  context.beginPath();
  for (const polygon of entry.answer?.lungs ?? []) {
    polygon.forEach(([x, y], place) => context[place ? "lineTo" : "moveTo"](left + x * width, top + y * height));
    context.closePath();
  }
  const unit = Math.max(1, context.canvas.width / 700);
  for (const [colour, thick, dash] of [["rgb(0 0 0 / 60%)", 3 * unit, []], ["#7fe0d0", 1.5 * unit, [7 * unit, 5 * unit]]]) {
    Object.assign(context, { strokeStyle: colour, lineWidth: thick, lineJoin: "round" });
    context.setLineDash(dash);
    context.stroke();
  }
  context.restore();
}
