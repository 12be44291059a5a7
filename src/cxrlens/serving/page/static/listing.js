/** All films in a table: how far they are read, sorted by any column, and as CSV. */

import { announce, byId, make, save } from "./dom.js";
import { verdictOf } from "./strip.js";
import { capital, className, defectName, figure, present, say, scores, share, unsure } from "./words.js";

export class Listing {
  /**
   * @param {object[]} entries The films; sorting puts them in order in place.
   * @param {function} onChoose Called with the film of the row that was taken.
   * @param {function} onSort Called when the order is another.
   */
  constructor(entries, onChoose, onSort) {
    Object.assign(this, { entries, onChoose, onSort, card: null, sorted: null, falling: false, rows: new Map(), waiting: false });
    byId("csv").addEventListener("click", () => this.download());
  }

  /** What stands in the columns: their words, what they are sorted by, what is shown. */
  get columns() {
    const diseases = this.card?.classes.slice(1) ?? [];
    const scored = this.entries.some((entry) => entry.answer && Object.keys(scores(entry.answer)).length);
    const value = (entry, label) => (!entry.answer || unsure(entry.answer) ? null : scored ? scores(entry.answer)[label] : entry.answer.probabilities[label]);
    return [
      { name: "film", words: say("list.film"), by: (entry) => entry.name, shown: (entry) => make("button", { type: "button", class: "link", onclick: () => this.onChoose(entry) }, entry.name) },
      { name: "answer", words: say("list.answer"), by: (entry) => (entry.answer || entry.error ? verdictOf(entry) : null), shown: verdictOf },
      ...diseases.map((label) => ({
        name: label,
        words: say(scored ? "list.score" : "list.probability", { class: className(label) }),
        by: (entry) => value(entry, label),
        shown: (entry) => (value(entry, label) == null ? "–" : scored ? figure(value(entry, label)) : share(value(entry, label))),
        falls: true,
      })),
      { name: "quality", words: say("list.quality"), by: (entry) => (entry.answer ? present(entry.answer).length : null), shown: (entry) => (entry.answer ? present(entry.answer).map(({ defect }) => defectName(defect)).join(", ") || "–" : (entry.error ?? "")), falls: true },
    ];
  }

  /** Bring the table up to date, at most once a frame. */
  show() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.draw();
    });
  }

  draw() {
    const { entries, columns } = this;
    const done = entries.filter((entry) => entry.answer || entry.error);
    const unread = done.filter((entry) => entry.error).length;
    const withheld = done.filter((entry) => entry.answer && unsure(entry.answer)).length;
    byId("read").max = Math.max(entries.length, 1);
    byId("read").value = done.length;
    byId("counts").textContent = [
      say("list.counts", { done: figure(done.length), all: figure(entries.length) }),
      withheld && say("list.unsure", { count: figure(withheld) }),
      unread && say("list.unread", { count: figure(unread) }),
    ].filter(Boolean).join("; ");
    byId("csv").disabled = !done.length;
    if (byId("listing").hidden) return;
    const focused = document.activeElement?.dataset.column;
    byId("columns").replaceChildren(...columns.map((column) => {
      const order = this.sorted !== column.name ? "none" : this.falling ? "descending" : "ascending";
      const sign = { none: "↕", ascending: "↑", descending: "↓" }[order];
      return make("th", { scope: "col", "aria-sort": order }, make("button", { type: "button", class: "link", "data-column": column.name, onclick: () => this.sort(column) }, capital(column.words), make("span", { "aria-hidden": "true" }, ` ${sign}`)));
    }));
    if (focused) document.querySelector(`[data-column="${focused}"]`)?.focus();
    const rows = entries.map((entry) => {
      const told = [entry.error, verdictOf(entry), columns.map((column) => column.words)].join();
      let row = this.rows.get(entry);
      if (row?.told !== told) {
        row = { told, element: make("tr", { class: entry.error ? "fault" : "" }, columns.map((column) => make(column.name === "film" ? "th" : "td", column.name === "film" ? { scope: "row" } : {}, column.shown(entry)))) };
        this.rows.set(entry, row);
      }
      return row.element;
    });
    if (rows.some((row, place) => byId("rows").children[place] !== row) || rows.length !== byId("rows").children.length) byId("rows").replaceChildren(...rows);
  }

  sort(column) {
    this.falling = this.sorted === column.name ? !this.falling : Boolean(column.falls);
    this.sorted = column.name;
    const way = this.falling ? -1 : 1;
    const worth = new Map(this.entries.map((entry) => [entry, column.by(entry)]));
    this.entries.sort((a, b) => {
      const [one, other] = [worth.get(a), worth.get(b)];
      // What has no value comes last, however it is sorted.
      if (one == null || other == null) return (one == null) - (other == null);
      return way * (typeof one === "string" ? one.localeCompare(other, undefined, { numeric: true }) : one - other);
    });
    announce(say("list.sorted", { column: column.words }));
    this.onSort();
  }

  /** Save what is known as `cxrlens predict --csv` writes it, and why a film was not read. */
  download() {
    save(new Blob([csvOf(this.entries)], { type: "text/csv" }), "predictions.csv");
  }
}

/** The predictions table of the films that were read or could not be. */
function csvOf(entries) {
  const rows = entries.filter((entry) => entry.answer || entry.error).map((entry) => {
    // A name that a spreadsheet would take for a formula is still the same file's.
    const image = /^[=+\-@]/.test(entry.name) ? `./${entry.name}` : entry.name;
    if (!entry.answer) return { image, error: entry.error };
    const { answer } = entry;
    const { predicted, reason, suggests } = answer;
    const row = { image, predicted, reason, suggests, ...answer.probabilities };
    for (const [label, count] of Object.entries(answer.votes ?? {})) row[`votes_${label}`] = count;
    for (const [label, score] of Object.entries(answer.scores)) row[`score_${label}`] = score;
    Object.assign(row, { doubt: answer.doubt, calibrated: answer.calibrated });
    for (const { defect, present: there, score } of answer.findings) Object.assign(row, { [defect]: there, [`${defect}_score`]: score });
    return { ...row, repairs: answer.repairs.join(" "), ...entry.model, error: "" };
  });
  const names = [...new Set(rows.toSorted((a, b) => Object.keys(b).length - Object.keys(a).length).flatMap(Object.keys))];
  const cell = (value) => {
    if (typeof value === "boolean") return value ? "True" : "False";
    const text = String(value ?? "");
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return [names, ...rows.map((row) => names.map((name) => row[name]))].map((line) => `${line.map(cell).join(",")}\n`).join("");
}
