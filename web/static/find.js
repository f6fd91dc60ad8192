/** Finds words in a transcript, whatever their case and accents, and leads to where they are said. */

import { clock } from "./clock.js";
import { lastAtOrBefore } from "./timeline.js";

const WAIT_MS = 150;
const MOST_HITS = 100;
const AROUND = 50;

export class Finder {
  #input;
  #news;
  #list;
  #go;
  #segments = [];
  #begins = [];
  #text = "";
  #folded = { text: "", places: [] };
  #at = -1;
  #timer = 0;

  /** `go(seconds)` is called with the place of a hit that somebody picks. */
  constructor(root, go) {
    this.#input = root.querySelector("input");
    this.#news = root.querySelector("[data-find-news]");
    this.#list = root.querySelector("[data-find-hits]");
    this.#go = go;
    this.#input.addEventListener("input", () => {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#show(), WAIT_MS);
    });
    this.#input.addEventListener("keydown", (event) => {
      if (event.key === "Enter") this.#next();
    });
    this.#list.addEventListener("click", ({ target }) => {
      const button = target.closest("button");
      if (button) this.#pick([...this.#list.querySelectorAll("button")].indexOf(button));
    });
    root.hidden = false;
  }

  /** Search these segments from now on. */
  fill(segments) {
    this.#segments = segments;
    this.#begins = [];
    this.#text = "";
    for (const segment of segments) {
      this.#begins.push(this.#text.length);
      this.#text += `${segment.text.trim()} `;
    }
    this.#folded = fold(this.#text);
    if (this.#input.value) this.#show();
  }

  #show() {
    const wanted = fold(this.#input.value.trim().replace(/\s+/g, " ")).text;
    const hits = wanted ? this.#find(wanted) : [];
    this.#at = -1;
    this.#list.replaceChildren(...hits.slice(0, MOST_HITS).map((hit) => this.#build(hit)));
    if (!wanted) this.#news.textContent = "";
    else if (!hits.length) this.#news.textContent = "Nobody says that here.";
    else if (hits.length > MOST_HITS) this.#news.textContent = `More than ${MOST_HITS} places; the first are here.`;
    else this.#news.textContent = hits.length === 1 ? "One place" : `${hits.length} places`;
  }

  /** Where the words begin and end in the text; one more than are shown is enough. */
  #find(wanted) {
    const { text, places } = this.#folded;
    const hits = [];
    for (let at = text.indexOf(wanted); at >= 0 && hits.length <= MOST_HITS; at = text.indexOf(wanted, at + wanted.length)) {
      hits.push([places[at], places[at + wanted.length - 1] + 1]);
    }
    return hits;
  }

  #build([begin, end]) {
    const index = lastAtOrBefore(this.#begins.length, (i) => this.#begins[i], begin);
    const start = this.#segments[index].start_seconds;
    const [item, button, time, mark] = ["li", "button", "time", "mark"].map((name) => document.createElement(name));
    button.type = "button";
    button.dataset.at = start;
    time.textContent = clock(start);
    mark.textContent = this.#text.slice(begin, end);
    const before = this.#text.slice(Math.max(0, begin - AROUND), begin);
    const after = this.#text.slice(end, end + AROUND);
    const words = document.createElement("span");
    words.append(begin > AROUND ? `…${before}` : before, mark, after.trimEnd(), end + AROUND < this.#text.length ? "…" : "");
    button.append(time, " ", words);
    item.append(button);
    return item;
  }

  #next() {
    const count = this.#list.children.length;
    if (count) this.#pick((this.#at + 1) % count);
  }

  #pick(index) {
    const buttons = [...this.#list.querySelectorAll("button")];
    this.#at = index;
    for (const [at, button] of buttons.entries()) {
      if (at === index) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
    }
    buttons[index].scrollIntoView({ block: "nearest" });
    this.#news.textContent = `${index + 1} of ${buttons.length}`;
    this.#go(Number(buttons[index].dataset.at));
  }
}

/** A text without case and accents, and for each of its letters the place in the original. */
function fold(text) {
  let folded = "";
  const places = [];
  let at = 0;
  for (const letter of text) {
    const plain = letter.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
    folded += plain;
    for (let i = 0; i < plain.length; i += 1) places.push(at);
    at += letter.length;
  }
  return { text: folded, places };
}
