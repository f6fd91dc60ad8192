/** Finds words in the transcript of a private recording, and mends its passages, the one that is heard first. */

import { clock } from "./clock.js";
import { Finder } from "./find.js";
import { here, loaded, loadTranscript, playFrom } from "./player.js";
import { lastAtOrBefore } from "./timeline.js";
import { ask, UploadError } from "./upload.js";

const root = document.querySelector("[data-mend]");
const form = root.querySelector("[data-mend-form]");
const audio = document.querySelector("[data-audio]");
const { start, end, text } = form.elements;
const place = root.querySelector("[data-mend-place]");
const news = root.querySelector("[data-mend-news]");
const trouble = root.querySelector("[data-mend-trouble]");
const path = `/tasks/${root.dataset.task}`;

const finder = new Finder(document.querySelector("[data-find]"), playFrom);
let passages = [];
let version = 0;
let shown = -1; // of the passages; -1: none
let isNew = false; // what is in the form is a passage to be

const ENDED = new Set(["ready", "transcription_failed", "rejected", "cancelled"]);
const inOrder = (a, b) => a.start_seconds - b.start_seconds || a.index - b.index;

async function load() {
  const task = await ask("GET", path, root.dataset.csrf);
  version = task.version;
  passages = task.prompts.toSorted(inOrder);
  return passages.length > 0 || ENDED.has(task.status);
}

// What is in the form

function show(index) {
  shown = passages.length ? Math.min(Math.max(0, index), passages.length - 1) : -1;
  isNew = false;
  const passage = passages[shown];
  fill(passage ?? { start_seconds: 0, end_seconds: 0, text: "" });
  place.textContent = passage
    ? `Passage ${shown + 1} of ${passages.length}, at ${clock(passage.start_seconds)}`
    : "There is no passage yet: add one here.";
}

function fill(passage) {
  start.value = start.defaultValue = exact(passage.start_seconds);
  end.value = end.defaultValue = exact(passage.end_seconds);
  text.value = text.defaultValue = passage.text;
  say("");
}

const isChanged = () => isNew || [start, end, text].some((field) => field.value !== field.defaultValue);

function say(sentence) {
  trouble.textContent = sentence;
  trouble.hidden = !sentence;
}

/** Show the passage at the place where the recording is, unless somebody is at work on another. */
function follow() {
  if (isChanged() || form.contains(document.activeElement) || !passages.length) return;
  const index = Math.max(0, lastAtOrBefore(passages.length, (i) => passages[i].start_seconds, here() + 0.05));
  if (index !== shown) show(index);
}

/** Seconds as a person mends them: 1:02.5 */
function exact(seconds) {
  const part = (Math.round(seconds * 1000) % 1000) / 1000;
  return clock(Math.round(seconds * 1000) / 1000) + (part ? String(part).slice(1) : "");
}

/** The seconds that 1:02.5, 62.5 or 0:01:02,5 are; NaN for anything else. */
function secondsOf(words) {
  const numbers = words.trim().replace(",", ".").split(":");
  if (numbers.length > 3 || !numbers.every((number) => /^\d+(\.\d+)?$/.test(number))) return NaN;
  return numbers.reduce((sum, number) => sum * 60 + Number(number), 0);
}

// What is changed

async function save(changed, said) {
  say("");
  const items = changed.toSorted(inOrder).map((passage, index) => ({ ...passage, index }));
  const headers = { "If-Match": `"${version}"` };
  try {
    const task = await ask("PUT", path, root.dataset.csrf, { prompts: items }, headers);
    version = task.version;
    passages = task.prompts;
    finder.fill(await loadTranscript());
    await showVersions();
    news.textContent = said;
    return true;
  } catch (error) {
    if (!(error instanceof UploadError || error instanceof TypeError)) throw error;
    if (error.status === 412) say("It was changed in another window meanwhile. Copy your text, and load the page again.");
    else say(error instanceof UploadError ? error.message : "No connection. Save it again.");
    return false;
  }
}

async function showVersions() {
  const answer = await fetch(location.pathname).catch(() => null);
  if (!answer?.ok || answer.redirected) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  document.querySelector("[data-history]").replaceWith(page.querySelector("[data-history]"));
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const passage = { start_seconds: secondsOf(start.value), end_seconds: secondsOf(end.value), text: text.value.trim() };
  for (const [field, value] of [[start, passage.start_seconds], [end, passage.end_seconds]]) {
    field.setAttribute("aria-invalid", String(Number.isNaN(value)));
    if (Number.isNaN(value)) {
      say("Write times as 1:02.5, or in seconds.");
      field.focus();
      return;
    }
  }
  if (passage.end_seconds < passage.start_seconds) {
    say("It ends before it begins.");
    end.focus();
    return;
  }
  if (!isChanged()) {
    news.textContent = "Nothing has changed.";
    return;
  }
  const index = isNew ? passages.length : passages[shown].index;
  const others = passages.filter((_, at) => isNew || at !== shown);
  if (await save([...others, { ...passage, index }], "Saved as a new version.")) {
    show(passages.findIndex((p) => p.start_seconds === passage.start_seconds && p.text === passage.text));
  }
});

const actions = {
  hear: () => playFrom(secondsOf(start.value) || 0),
  undo: () => {
    if (isNew) show(shown);
    else fill(passages[shown]);
    news.textContent = "As it was.";
  },
  previous: () => move(-1),
  next: () => move(1),
  add: () => {
    if (isChanged()) return say("Save or undo this one first.");
    const at = Math.round(here() * 10) / 10;
    isNew = true;
    fill({ start_seconds: at, end_seconds: at + 2, text: "" });
    place.textContent = "A new passage";
    text.focus();
  },
  remove: async () => {
    if (isNew) return show(shown);
    if (shown < 0) return;
    if (await save(passages.filter((_, at) => at !== shown), "Removed. The version before has it still.")) show(shown);
  },
};

function move(step) {
  if (isChanged()) say("Save or undo this one first.");
  else show(shown + step);
}

root.addEventListener("click", ({ target }) => {
  const action = target.closest("[data-mend-do]")?.dataset.mendDo;
  if (action) actions[action]();
});
text.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
});
for (const name of ["timeupdate", "seeked"]) audio.addEventListener(name, follow);
addEventListener("beforeunload", (event) => {
  if (shown >= 0 && isChanged()) event.preventDefault();
});

finder.fill(await loaded);
if (await load()) {
  show(0);
  follow();
  root.hidden = false;
}
