/** Keeps a listener's place in a book, on every device the same, and counts what is heard. */

import { Unsent } from "./unsent.js";

const SAVE_EVERY_MS = 10_000;
const SETTLE_MS = 800;
const LONG_PAUSE_MS = 900_000;
const COUNT_EVERY = 1; // second
const LONGEST_STEP = 3; // seconds of playing between two signs of it

export class Progress {
  #audio;
  #source;
  #book;
  #device = deviceId();
  #unsent;
  #onMoved;
  #known;
  #completed;
  #savedAt = 0;
  #settling = 0;
  #stretch = "";
  #heard = 0;
  #heardUntil = null;

  /** `page` is what the page says of book, listener and place; `onMoved(seconds)` is called where another device went on. */
  constructor(audio, source, page, onMoved) {
    this.#audio = audio;
    this.#source = source;
    this.#book = page.book;
    this.#known = Date.parse(page.recorded) || 0;
    this.#unsent = new Unsent(page.listener, page.token);
    this.#onMoved = onMoved;
    const unsent = this.#unsent.read().positions[page.book];
    this.first = unsent?.position_seconds ?? Number(page.position);
    audio.addEventListener("timeupdate", () => this.#play());
    audio.addEventListener("seeking", () => (this.#heardUntil = null));
    audio.addEventListener("pause", () => {
      if (audio.readyState) this.save(source.time);
    });
    audio.addEventListener("ended", () => {
      if (!source.isLast) return;
      this.#completed = true;
      this.save(source.time);
    });
    addEventListener("pagehide", () => this.#leave());
    addEventListener("online", () => this.#send());
    document.addEventListener("visibilitychange", () => (document.hidden ? this.#leave() : this.#comeBack()));
    this.#send();
  }

  /** Note a place and send it. */
  save(seconds) {
    clearTimeout(this.#settling);
    this.#note(seconds);
    this.#send();
  }

  /** Note a place that somebody jumped to, and send it when the jumping is over. */
  jump(seconds) {
    this.#note(seconds);
    clearTimeout(this.#settling);
    this.#settling = setTimeout(() => this.#send(), SETTLE_MS);
  }

  keepSpeed(rate) {
    this.#unsent.savePreference({ playback_speed: rate });
  }

  #note(seconds) {
    this.#count();
    this.#savedAt = Date.now();
    const act = {
      audiobook_id: this.#book,
      position_seconds: round(seconds),
      device_id: this.#device,
      speed: this.#audio.playbackRate,
      recorded_at: new Date().toISOString(),
    };
    this.#unsent.change((state) => {
      const completed = this.#completed ?? state.positions[this.#book]?.completed;
      if (completed !== undefined) act.completed = completed;
      state.positions[this.#book] = act;
    });
  }

  #play() {
    const { paused, seeking, playbackRate } = this.#audio;
    const now = this.#source.time;
    if (seeking) return;
    const step = this.#heardUntil === null ? 0 : now - this.#heardUntil;
    this.#heardUntil = paused ? null : now;
    if (step > 0 && step < LONGEST_STEP * playbackRate) this.#heard += step;
    if (this.#heard < COUNT_EVERY) return;
    this.#count();
    if (!paused && Date.now() - this.#savedAt > SAVE_EVERY_MS) this.save(now);
  }

  /** Add what was heard to the stretch that goes on, or to a new one after a long pause. */
  #count() {
    if (!this.#heard) return;
    const [step, now] = [this.#heard, this.#source.time];
    this.#heard = 0;
    this.#unsent.change((state) => {
      const at = new Date();
      let stretch = state.stretches[this.#stretch];
      const last = stretch && Date.parse((stretch.update ?? stretch.start).recorded_at);
      if (!stretch || at - last > LONG_PAUSE_MS) {
        stretch = { start: this.#begin(now - step, at, step), told: 0 };
        this.#stretch = `${at.getTime()}-${Math.random().toString(36).slice(2)}`;
        state.stretches[this.#stretch] = stretch;
      }
      stretch.update = {
        seconds_listened: round((stretch.update?.seconds_listened ?? 0) + step),
        position_seconds: round(now),
        speed: this.#audio.playbackRate,
        utc_offset_minutes: -at.getTimezoneOffset(),
        recorded_at: at.toISOString(),
      };
    });
  }

  #begin(position, at, step) {
    const rate = this.#audio.playbackRate;
    return {
      audiobook_id: this.#book,
      start_position_seconds: round(Math.max(0, position)),
      device_id: this.#device,
      speed: rate,
      utc_offset_minutes: -at.getTimezoneOffset(),
      recorded_at: new Date(at - (step / rate) * 1000).toISOString(),
    };
  }

  async #send() {
    const results = await this.#unsent.flush();
    const mine = results.find((result) => result.audiobook_id === this.#book);
    if (mine?.progress) this.#learn(mine.progress);
  }

  /** Go where another device has gone on, unless this one plays. */
  #learn(progress) {
    const at = Date.parse(progress.recorded_at);
    const isNews = at > this.#known && progress.device_id !== this.#device;
    this.#known = Math.max(at, this.#known);
    if (isNews && this.#audio.paused) this.#onMoved(progress.position_seconds);
  }

  #leave() {
    clearTimeout(this.#settling);
    if (!this.#audio.paused) this.#note(this.#source.time);
    this.#count();
    this.#unsent.flushNow(this.#book, this.#stretch);
  }

  async #comeBack() {
    if (!this.#audio.paused) return;
    await this.#send();
    const progress = await this.#unsent.fetchPosition(this.#book);
    if (progress?.recorded_at) this.#learn(progress);
  }
}

function round(seconds) {
  return Math.round(seconds * 1000) / 1000;
}

function deviceId() {
  const key = "aloud.device";
  const fresh = `browser-${Date.now().toString(36)}-${Math.random().toString(36).slice(2)}`;
  try {
    const known = localStorage.getItem(key) ?? fresh;
    localStorage.setItem(key, known);
    return known;
  } catch {
    return fresh;
  }
}
