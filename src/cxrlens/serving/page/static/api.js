/** Talking to the server: the token, busy answers, faults as one sentence. */

import { say } from "./words.js";

const KEPT = "cxrlens-token";
const TRIES = 20;

export class Fault extends Error {}

let askForToken = async () => "";
let asking = null;

/** Say who asks the reader for the token; called once however many requests need it. */
export function onTokenNeeded(ask) {
  askForToken = ask;
}

/** Where the token is kept until the tab is closed; where a browser keeps nothing, until the page is left. */
const kept = (() => {
  try {
    sessionStorage.getItem(KEPT);
    return sessionStorage;
  } catch {
    const told = new Map();
    return { getItem: (key) => told.get(key) ?? null, setItem: (key, value) => told.set(key, value) };
  }
})();

const pause = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));

/** Fetch; ask for the token where it is needed, and wait where the server is busy. */
export async function call(path, options = {}) {
  let wrong = false;
  for (let tries = 0; tries < TRIES; tries += 1) {
    const token = kept.getItem(KEPT);
    const headers = token ? { authorization: `Bearer ${token}` } : {};
    let answer;
    try {
      answer = await fetch(path, { ...options, headers });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Fault(say("server.gone"));
    }
    if (answer.status === 401) {
      if (token === kept.getItem(KEPT)) {
        wrong = token !== null;
        asking ??= askForToken(wrong);
        kept.setItem(KEPT, await asking);
        asking = null;
      }
    } else if (answer.status === 503) {
      await pause(Math.min(Number(answer.headers.get("retry-after")) || 1, 10));
    } else if (!answer.ok) {
      throw new Fault(await sentence(answer));
    } else {
      return answer;
    }
  }
  throw new Fault(say("server.busy"));
}

async function sentence(answer) {
  try {
    const said = (await answer.json()).error;
    return said.charAt(0).toUpperCase() + said.slice(1);
  } catch {
    return say("server.status", { status: answer.status });
  }
}

/** A form with a film, and other fields. */
export function formWith(file, fields = {}) {
  const form = new FormData();
  form.append("film", file, file.name);
  for (const [name, value] of Object.entries(fields)) form.append(name, value);
  return form;
}
