/**
 * Sends a file straight to the storage, block by block. What has arrived is noted in this browser, so that the
 * same file goes on where it stopped, even after the page was closed.
 */

const API = "/api/v1";
const BLOCK_BYTES = 4 * 2 ** 20;
const RETRY_AFTER_MS = [1_000, 2_000, 5_000, 10_000, 20_000, 30_000, 30_000];
const FORGET_AFTER_MS = 6 * 86_400_000; // the storage forgets blocks a day later
const RENEW_BEFORE_MS = 120_000;

/** Why a file cannot be sent, in words for a person. */
export class UploadError extends Error {}

/** Asks the API as the page's reader; answers the parsed JSON. Throws UploadError with a sentence to show. */
export async function ask(method, path, token, body, more = {}) {
  const headers = { "X-CSRF-Token": token, Accept: "application/json", ...more };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const answer = await fetch(API + path, { method, headers, body: JSON.stringify(body) });
  if (answer.status === 204) return null;
  const content = await answer.json().catch(() => null);
  if (answer.ok) return content;
  if (answer.status === 401) throw new UploadError("You have been signed out. Sign in again to go on.");
  const fault = content?.errors?.[0];
  const detail = fault ? `${fault.field}: ${fault.message}` : content?.detail;
  const error = new UploadError((answer.status < 500 && detail) || "The server cannot answer right now.");
  error.status = answer.status;
  throw error;
}

export class Upload {
  #file;
  #token;
  #kept;
  #onProgress;
  #state = null;
  #request = null;
  #wake = null;
  #stopped = false;

  /** `onProgress(bytes, waiting)` tells how much has arrived, and whether it waits to try again. */
  constructor(file, listener, token, onProgress) {
    this.#file = file;
    this.#token = token;
    this.#kept = new Kept(listener, file);
    this.#onProgress = onProgress;
  }

  /** Whether some of this file has been sent from this browser before. */
  get isBegun() {
    return this.#kept.read() !== null;
  }

  /**
   * Say that this file will come, unless that was said before; returns the id of the task. What is `announced`
   * besides the file is `part`, and `task_id` for another part.
   */
  async announce(announced) {
    this.#state = await this.#goOn(announced.task_id);
    if (!this.#state) {
      const { id, task_id, url, expires_at } = await ask("POST", "/uploads", this.#token, {
        purpose: "task",
        filename: this.#file.name,
        size_bytes: this.#file.size,
        content_type: typeOf(this.#file),
        ...announced,
      });
      this.#state = { id, task: task_id, done: 0, link: { url, expires_at } };
      this.#kept.write(this.#state);
    }
    return this.#state.task;
  }

  /**
   * Send what is missing of a file that was announced; false if it was stopped. That all of it was sent is
   * remembered until it is forgotten: whatever is cut off after it, nothing is sent twice.
   */
  async send() {
    this.#stopped = false;
    const state = this.#state;
    if (state.isSent) return true;
    this.#onProgress(Math.min(state.done * BLOCK_BYTES, this.#file.size), false);
    const count = Math.max(1, Math.ceil(this.#file.size / BLOCK_BYTES));
    while (state.done < count) {
      const [from, number] = [state.done * BLOCK_BYTES, state.done];
      const block = this.#file.slice(from, from + BLOCK_BYTES);
      const sent = await this.#persist(state, `&comp=block&blockid=${encodeURIComponent(blockName(number))}`, block, from);
      if (!sent) return false;
      state.done += 1;
      this.#kept.write(state);
    }
    const blocks = Array.from({ length: count }, (_, number) => `<Latest>${blockName(number)}</Latest>`);
    const list = `<?xml version="1.0" encoding="utf-8"?><BlockList>${blocks.join("")}</BlockList>`;
    const joined = await this.#persist(state, "&comp=blocklist", list, this.#file.size);
    if (!joined) return false;
    this.#kept.write({ ...state, isSent: true });
    await ask("POST", `/uploads/${state.id}/complete`, this.#token);
    return true;
  }

  forget() {
    this.#kept.forget();
  }

  /** Stop; what has arrived stays, and `send` goes on from there. */
  stop() {
    this.#stopped = true;
    this.#request?.abort();
    this.#wake?.();
  }

  /** Stop for good: forget what was sent; returns the task that it was for, or null. */
  abandon() {
    this.stop();
    const state = this.#kept.read();
    this.#kept.forget();
    return state?.task ?? null;
  }

  /** What was begun before, if the server still takes it for this task (undefined: for any). */
  async #goOn(task) {
    const state = this.#kept.read();
    if (!state || (task !== undefined && task !== state.task)) return null;
    try {
      await ask("GET", `/tasks/${state.task}`, this.#token);
      const { url, expires_at } = await ask("GET", `/uploads/${state.id}`, this.#token);
      return { ...state, link: { url, expires_at } };
    } catch (error) {
      if (error.status !== 404 && error.status !== 409) throw error;
      this.#kept.forget();
      return null;
    }
  }

  /** Send one thing until it has arrived; false if somebody stopped it. */
  async #persist(state, query, content, before) {
    for (let tries = 0; !this.#stopped; tries += 1) {
      try {
        if (Date.parse(state.link.expires_at) - Date.now() < RENEW_BEFORE_MS) await this.#renew(state);
        const status = await this.#put(state.link.url + query, content, before);
        if (status === 201) return true;
        if (status === 403) await this.#renew(state);
        else if (status < 500 && status !== 408 && status !== 429) {
          this.#kept.forget();
          throw new UploadError("The storage does not take this file. Choose it again to begin anew.");
        }
      } catch (error) {
        if (!(error instanceof TypeError)) throw error; // no connection
      }
      if (this.#stopped) break;
      if (tries >= RETRY_AFTER_MS.length) throw new UploadError("No connection. What has arrived is kept: go on later.");
      this.#onProgress(before, true);
      await this.#rest(RETRY_AFTER_MS[tries]);
    }
    return false;
  }

  async #renew(state) {
    const { url, expires_at } = await ask("GET", `/uploads/${state.id}`, this.#token);
    state.link = { url, expires_at };
  }

  #rest(wait) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, wait);
      this.#wake = () => {
        clearTimeout(timer);
        removeEventListener("online", this.#wake);
        resolve();
      };
      addEventListener("online", this.#wake, { once: true });
    });
  }

  /** PUT; resolves to the status, throws TypeError without a connection. Only this way tells how much is sent. */
  #put(url, content, before) {
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      this.#request = request;
      request.open("PUT", url);
      request.setRequestHeader("x-ms-blob-content-type", typeOf(this.#file));
      request.upload.addEventListener("progress", ({ loaded }) => {
        if (content instanceof Blob) this.#onProgress(before + Math.min(loaded, content.size), false);
      });
      request.addEventListener("load", () => resolve(request.status));
      for (const kind of ["error", "timeout", "abort"]) {
        request.addEventListener(kind, () => reject(new TypeError("The file could not be sent.")));
      }
      request.timeout = 300_000;
      request.send(content);
    });
  }
}

/** What this browser remembers of a file that is being sent, in localStorage if there is any. */
class Kept {
  #key;
  #file;
  #state = null;

  constructor(listener, file) {
    this.#key = `aloud.uploads.${listener}`;
    this.#file = `${file.name}|${file.size}|${file.lastModified}`;
  }

  read() {
    return this.#all()[this.#file] ?? this.#state;
  }

  write({ id, task, done, isSent = false }) {
    this.#state = { id, task, done, isSent, at: Date.now() };
    this.#save({ ...this.#all(), [this.#file]: this.#state });
  }

  forget() {
    const { [this.#file]: _, ...others } = this.#all();
    this.#state = null;
    this.#save(others);
  }

  #all() {
    try {
      const states = Object.entries(JSON.parse(localStorage.getItem(this.#key)) ?? {});
      return Object.fromEntries(states.filter(([, state]) => Date.now() - state.at < FORGET_AFTER_MS));
    } catch {
      return {};
    }
  }

  #save(states) {
    try {
      localStorage.setItem(this.#key, JSON.stringify(states));
    } catch {
      // A browser without storage remembers it as long as the page.
    }
  }
}

/** The name of a block: all of one length, as the storage wants it. */
function blockName(number) {
  return btoa(String(number).padStart(8, "0"));
}

/** What a browser says of a recording, unless it takes it for something else: what it is, is seen by its content. */
function typeOf(file) {
  return file.type.startsWith("audio/") ? file.type : "application/octet-stream";
}
