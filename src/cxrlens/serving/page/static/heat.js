/** Heat maps: asked for when they are to be seen, kept with their film, slow ones with progress and cancel. */

import { call, formWith } from "./api.js";
import { announce, byId, pngOf, toast } from "./dom.js";
import { greyOf } from "./film.js";
import { colourMap } from "./palette.js";
import { className, methodName, say, unsure } from "./words.js";

const POLL = 400;

const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

export class Heat {
  /** @param {function} onMap Called when a map is there. */
  constructor(onMap) {
    Object.assign(this, { on: false, opacity: 0.5, method: null, methods: [], classes: [], onMap, running: null });
    byId("cancel").addEventListener("click", () => this.cancel());
  }

  /** Offer methods, the first of them to begin with, and at once where it is quick, for these classes. */
  offer(methods, classes) {
    Object.assign(this, { methods, classes, method: methods[0]?.name ?? null, on: Boolean(methods[0]?.quick) });
  }

  /** Whether a film's answer is withheld and nobody has asked for a map of it all the same. */
  withheld(entry) {
    return Boolean(entry?.answer && unsure(entry.answer) && !entry.target);
  }

  get chosen() {
    return this.methods.find((method) => method.name === this.method);
  }

  /** The classes that the chosen method can be asked about. */
  get targets() {
    return this.classes.slice(this.chosen?.diseases_only ? 1 : 0);
  }

  /** What is explained: the class that was chosen, else the predicted one, else the likeliest that can be. */
  target(entry) {
    if (!this.targets.length || this.withheld(entry)) return null;
    const wanted = entry.target ?? entry.answer?.predicted;
    if (!entry.answer || this.targets.includes(wanted)) return wanted;
    const shares = entry.answer.probabilities;
    return this.targets.reduce((best, label) => (shares[label] > shares[best] ? label : best));
  }

  key(entry) {
    return `${this.method} ${this.target(entry)}`;
  }

  /** The map that belongs to a film as things are set, or undefined. */
  mapOf(entry) {
    return entry.maps.get(this.key(entry));
  }

  /** Get the map of a film if it is wanted and not there; of slow methods one at a time. */
  async want(entry) {
    if (!this.on || !this.chosen || !entry?.answer || this.withheld(entry) || entry.maps.has(this.key(entry))) return;
    const key = this.key(entry);
    const slow = !this.chosen?.quick;
    if (slow && this.running?.key === key && this.running.entry === entry) return;
    if (this.running) await this.cancel();
    if (entry.asked.has(key)) return;
    entry.asked.add(key);
    const work = { entry, key, method: this.method, target: this.target(entry), stop: new AbortController(), job: null };
    if (slow) {
      this.running = work;
      this.showJob(work, 0, 0);
    }
    try {
      const map = await this.fetch(work);
      const { grey, width, height } = await greyOf(pngOf(map.png));
      entry.maps.set(key, Object.assign(colourMap(grey, width, height, map.signed), { signed: map.signed, note: map.note }));
      announce(say("heat.shown", { method: methodName(work.method), class: className(work.target) }));
      this.onMap(entry);
    } catch (error) {
      if (error.name !== "AbortError") toast(error.message);
    } finally {
      entry.asked.delete(key);
      if (this.running === work) {
        this.running = null;
        byId("job").hidden = true;
      }
    }
  }

  async fetch(work) {
    const { signal } = work.stop;
    const form = formWith(work.entry.file, { method: work.method, target: work.target });
    const answer = await call("/explain", { method: "POST", body: form, signal });
    if (answer.status !== 202) return answer.json();
    let job = await answer.json();
    work.job = job.id;
    while (job.status === "waiting" || job.status === "running") {
      this.showJob(work, job.done, job.of);
      await pause(POLL);
      job = await (await call(`/jobs/${job.id}`, { signal })).json();
    }
    if (job.status !== "done") throw new Error(job.error ?? say("heat.failed"));
    const map = await (await call(`/jobs/${job.id}/result`, { signal })).json();
    call(`/jobs/${job.id}`, { method: "DELETE" }).catch(() => {});
    return map;
  }

  /** Give up what is under way. */
  async cancel() {
    const work = this.running;
    if (!work) return;
    this.running = null;
    byId("job").hidden = true;
    work.stop.abort();
    if (work.job) {
      announce(say("heat.given", { method: methodName(work.method) }));
      await call(`/jobs/${work.job}`, { method: "DELETE" }).catch(() => {});
    }
  }

  showJob(work, done, of) {
    byId("job").hidden = false;
    const bar = byId("progress");
    if (of) bar.value = done / of;
    else bar.removeAttribute("value");
    const told = { method: methodName(work.method), class: className(work.target), percent: Math.round((100 * done) / (of || 1)) };
    byId("job-words").textContent = say(of ? "heat.progress" : "heat.waiting", told);
  }
}
