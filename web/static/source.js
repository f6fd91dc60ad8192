import { lastAtOrBefore } from "./timeline.js";

const RENEW_BEFORE_MS = 60_000;
const LONGEST_TIMER_MS = 2 ** 31 - 1;
const RETRY_AFTER_MS = [0, 1_000, 4_000];

/** Why the server gave no recording or transcript, in words for a person. */
export class RefusedError extends Error {}

/** GET that answers the parsed JSON. Throws RefusedError with a sentence to show. */
export async function fetchJson(url) {
  const answer = await fetch(url, { headers: { Accept: "application/json" } });
  if (answer.ok) return answer.json();
  if (answer.status === 401) throw new RefusedError("You have been signed out. Sign in again to go on.");
  const problem = await answer.json().catch(() => null);
  throw new RefusedError((answer.status < 500 && problem?.detail) || "The server cannot answer right now.");
}

/** Keeps an audio element fed from links that end after a while, file after file, without losing the place. */
export class Source {
  #audio;
  #address;
  #starts;
  #part = 0;
  #onTrouble;
  #expires = 0;
  #failures = 0;
  #loading = null;
  #timer = 0;
  #position = 0;

  /**
   * `address` gives the links, `starts` are the seconds at which the recording's files begin.
   * `onTrouble(sentence)` is called when the recording cannot be had, and with "" when it can again.
   */
  constructor(audio, address, starts, onTrouble) {
    this.#audio = audio;
    this.#address = `${address}?redirect=false`;
    this.#starts = starts;
    this.#onTrouble = onTrouble;
    audio.addEventListener("error", () => this.#recover());
    audio.addEventListener("timeupdate", () => {
      if (!audio.error && !this.#loading) this.#position = this.time;
    });
    audio.addEventListener("ended", () => this.#goOn());
    audio.addEventListener("playing", () => {
      this.#failures = 0;
      onTrouble("");
    });
  }

  /** Where in the whole recording it is, in seconds. */
  get time() {
    return this.#loading ? this.#position : this.#starts[this.#part] + this.#audio.currentTime;
  }

  /** Whether this is the last of the files. */
  get isLast() {
    return this.#part + 1 >= this.#starts.length;
  }

  /** Begin to load, at a position in seconds. */
  async open(position) {
    this.#position = position;
    await this.#load();
  }

  /** Go to a position, loading anew if the link has ended. */
  async seek(position) {
    this.#position = position;
    const playing = !this.#audio.paused;
    if (this.#isStale || this.#partAt(position) !== this.#part) await this.#reload(playing);
    else this.#audio.currentTime = position - this.#starts[this.#part];
  }

  async play() {
    this.#failures = 0;
    const usable = !this.#loading && !this.#isStale && !this.#audio.error;
    if (usable || (await this.#load())) await this.#start();
  }

  get #isStale() {
    return Date.now() > this.#expires - RENEW_BEFORE_MS / 2;
  }

  /** After the end of a file, play the next one. */
  #goOn() {
    if (this.isLast) return;
    this.#position = this.#starts[this.#part + 1];
    this.#reload(true);
  }

  #partAt(position) {
    return Math.max(0, lastAtOrBefore(this.#starts.length, (i) => this.#starts[i], position));
  }

  /** Take a new link, and go on playing if it was playing. */
  async #reload(playing = !this.#audio.paused) {
    if ((await this.#load()) && playing) await this.#start();
  }

  /** True when the audio has a link that is good; those who ask while one is fetched wait for the same. */
  #load() {
    this.#loading ??= this.#fetchLink().finally(() => {
      this.#loading = null;
    });
    return this.#loading;
  }

  async #fetchLink() {
    try {
      let [part, link] = [-1, null];
      while (part !== this.#partAt(this.#position)) {
        part = this.#partAt(this.#position); // which may be another one by the time that the link is here
        link = await fetchJson(this.#address + (this.#starts.length > 1 ? `&part=${part + 1}` : ""));
      }
      this.#expires = Date.parse(link.expires_at);
      const wait = this.#expires - Date.now() - RENEW_BEFORE_MS;
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#renew(), Math.min(Math.max(wait, 1_000), LONGEST_TIMER_MS));
      this.#part = part;
      this.#audio.src = link.url;
      this.#audio.currentTime = this.#position - this.#starts[part];
      this.#onTrouble("");
      return true;
    } catch (error) {
      this.#onTrouble(error instanceof RefusedError ? error.message : "No connection. Press play to try again.");
      return false;
    }
  }

  async #start() {
    try {
      await this.#audio.play();
    } catch (error) {
      if (error.name === "NotAllowedError") this.#onTrouble("Your browser wants you to press play once more.");
      else if (error.name !== "AbortError" && !this.#audio.error) throw error;
    }
  }

  /** A link that ends while nothing plays is renewed when something does. */
  #renew() {
    if (!this.#audio.paused) this.#reload();
  }

  #recover() {
    const wait = RETRY_AFTER_MS[this.#failures];
    this.#failures += 1;
    if (wait === undefined) {
      this.#onTrouble("The recording cannot be loaded right now. Press play to try again.");
      return;
    }
    setTimeout(() => this.#reload(), wait);
  }
}
