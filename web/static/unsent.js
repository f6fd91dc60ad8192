/** What this browser has to tell the server of a listener: kept here until the server has it. */

const API = "/api/v1";
const MOST_ITEMS = 45;
const FORGET_AFTER_MS = 86_400_000;
const REFUSED_FOR_GOOD = new Set([400, 404, 409, 413, 415, 422]);
const NOT_OWNED = "/problems/not-owned";

/** Positions by book, and stretches of listening by a name of their own. */
export class Unsent {
  #key;
  #listener;
  #token;
  #kept;

  /** `token` is the form token of the page, which is renewed when it is too old. */
  constructor(listener, token) {
    this.#key = `aloud.unsent.${listener}`;
    this.#listener = listener;
    this.#token = token;
    this.#kept = { positions: {}, stretches: {} };
  }

  /** The state of now, which other tabs may have changed. */
  read() {
    try {
      return JSON.parse(localStorage.getItem(this.#key)) ?? { positions: {}, stretches: {} };
    } catch {
      return this.#kept; // a browser without storage keeps it as long as the page
    }
  }

  change(apply) {
    const state = this.read();
    apply(state);
    this.#kept = state;
    try {
      localStorage.setItem(this.#key, JSON.stringify(state));
    } catch {
      // kept in the page alone
    }
  }

  /** Send everything, one tab at a time; what cannot be sent stays. Resolves to the results of positions. */
  async flush() {
    try {
      if (!navigator.locks) return await this.#sendAll();
      return await navigator.locks.request(this.#key, () => this.#sendAll());
    } catch (error) {
      if (error instanceof TypeError) return []; // no connection
      throw error;
    }
  }

  /** Send what concerns this book before the page is gone; whether it arrived is seen the next time. */
  flushNow(book, stretch) {
    const state = this.read();
    const position = state.positions[book];
    if (position) this.#ask("PUT", "/progress", { items: [stamped(position)] }).catch(() => null);
    const heard = state.stretches[stretch];
    if (heard?.id && heard.update) {
      this.#ask("PUT", `/listening/sessions/${heard.id}`, stamped(heard.update)).catch(() => null);
    }
  }

  /** What the server has of a book, or null while it cannot be asked. */
  async fetchPosition(book) {
    try {
      const answer = await fetch(`${API}/progress/${book}`);
      return answer.ok ? await answer.json() : null;
    } catch {
      return null;
    }
  }

  savePreference(change) {
    this.#ask("PUT", "/users/me", change).catch(() => null);
  }

  async #sendAll() {
    const results = await this.#sendPositions();
    for (const [name, stretch] of Object.entries(this.read().stretches)) await this.#sendStretch(name, stretch);
    return results;
  }

  async #sendPositions() {
    const sent = Object.values(this.read().positions).slice(0, MOST_ITEMS);
    if (!sent.length) return [];
    const answer = await this.#ask("PUT", "/progress", { items: sent.map(stamped) });
    if (!answer.ok && !REFUSED_FOR_GOOD.has(answer.status)) return [];
    this.change((state) => {
      for (const item of sent) {
        const { audiobook_id: book, recorded_at: at } = item;
        if (state.positions[book]?.recorded_at === at) delete state.positions[book];
      }
    });
    return answer.ok ? (await answer.json()).items : [];
  }

  async #sendStretch(name, stretch) {
    const { start, update, told } = stretch;
    const old = Date.now() - Date.parse((update ?? start).recorded_at) > FORGET_AFTER_MS;
    if (!update || update.seconds_listened === told) {
      if (old) this.change((state) => delete state.stretches[name]);
      return;
    }
    let { id } = stretch;
    if (!id) {
      const begun = await this.#ask("POST", "/listening/sessions", stamped(start));
      if (!begun.ok) return this.#giveUp(name, begun);
      ({ id } = await begun.json());
      this.#note(name, { id });
    }
    const answer = await this.#ask("PUT", `/listening/sessions/${id}`, stamped(update));
    if (answer.ok) this.#note(name, { told: update.seconds_listened });
    else await this.#giveUp(name, answer);
  }

  #note(name, facts) {
    this.change((state) => {
      if (state.stretches[name]) Object.assign(state.stretches[name], facts);
    });
  }

  /** What will never be taken is forgotten; a 403 may only mean that somebody else has signed in here. */
  async #giveUp(name, answer) {
    const notOwned = answer.status === 403 && (await answer.json()).type === NOT_OWNED;
    if (notOwned || REFUSED_FOR_GOOD.has(answer.status)) this.change((state) => delete state.stretches[name]);
  }

  async #ask(method, path, body) {
    const answer = await this.#send(method, path, body);
    const mayHelp = answer.status === 403 && (await answer.clone().json()).type !== NOT_OWNED;
    return mayHelp && (await this.#renewToken()) ? this.#send(method, path, body) : answer;
  }

  #send(method, path, body) {
    const headers = { "Content-Type": "application/json", "X-CSRF-Token": this.#token };
    return fetch(API + path, { method, headers, body: JSON.stringify(body), keepalive: true });
  }

  /** A form token lasts a day, a page may stay open for longer. True if there is a new one for the same person. */
  async #renewToken() {
    const answer = await fetch(location.pathname);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.querySelector("[data-player]")?.dataset;
    if (fresh?.listener !== this.#listener || fresh.token === this.#token) return false;
    this.#token = fresh.token;
    return true;
  }
}

function stamped(act) {
  return { ...act, sent_at: new Date().toISOString() };
}
