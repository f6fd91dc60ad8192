/** Sends recordings to be transcribed, and keeps the list of them up to date. Without it, a form takes small ones. */

import { ask, Upload, UploadError } from "./upload.js";

const POLL_MS = 2_000;
const LONGEST_MS = 20_000;
const TELL_EVERY = 25; // percent
const MOST_TAGS = 20;
const MOST_TAG_LETTERS = 40;
const MOST_LETTERS = 200; // of a name

const form = document.querySelector("[data-sender]");
const { listener, largest } = form.dataset;
const token = form.elements.csrf.value;
const input = form.elements.file;
const find = (selector) => form.querySelector(selector);
const suffixes = input.accept.split(",").filter((kind) => kind.startsWith("."));
const news = find("[data-sender-news]");
const trouble = find("[data-trouble]");
const bar = find("progress");

let files = [];
let current = null; // the upload that goes on
let startedAt = 0;
let startedWith = 0;
let told = 0;

// What is chosen

function choose(chosen) {
  const order = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });
  files = [...chosen].sort((a, b) => order.compare(a.webkitRelativePath || a.name, b.webkitRelativePath || b.name));
  say(files.length ? fault() : "");
  const list = find("[data-chosen]");
  list.replaceChildren(...files.map((file) => element("li", `${file.name}, ${size(file.size)}`)));
  list.hidden = files.length === 0;
  find("[data-several]").hidden = files.length < 2;
  find("[data-name]").hidden = files.length > 1 && !isOne();
  const begun = files.some((file) => new Upload(file, listener, token, () => {}).isBegun);
  find("[data-send]").textContent = begun ? "Go on where it stopped" : "Transcribe";
}

function isOne() {
  return files.length < 2 || form.elements.several.value === "one";
}

function element(name, text) {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}

function size(bytes) {
  if (bytes < 999_500) return `${Math.ceil(bytes / 1000)} kB`;
  return bytes < 999_500_000 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(2)} GB`;
}

function say(sentence) {
  trouble.textContent = sentence;
  trouble.hidden = !sentence;
}

// Sending

async function send() {
  say("");
  show("sending");
  const before = files.map((_, i) => files.slice(0, i).reduce((sum, file) => sum + file.size, 0));
  const total = files.reduce((sum, file) => sum + file.size, 0);
  [startedAt, startedWith, told] = [0, 0, 0];
  const uploads = files.map(
    (file, index) => new Upload(file, listener, token, (bytes, waiting) => tell(index, before[index] + bytes, total, waiting)),
  );
  let task;
  try {
    if (isOne() && files.length > 1) {
      for (const [index, upload] of uploads.entries()) {
        current = upload; // all are announced first, so that the work does not begin without the last
        task = await upload.announce({ part: index + 1, ...(task && { task_id: task }) });
      }
      await describe(task);
    }
    for (const upload of uploads) {
      current = upload;
      if (!isOne() || files.length === 1) {
        task = await upload.announce({});
        await describe(task);
      }
      if (!(await upload.send())) return show("paused");
    }
    for (const upload of uploads) upload.forget();
  } catch (error) {
    if (!(error instanceof UploadError || error instanceof TypeError)) throw error;
    say(error instanceof UploadError ? error.message : "No connection. What has arrived is kept: go on later.");
    return show(task === undefined && !current.isBegun ? "choosing" : "paused");
  }
  current = null;
  location.assign(isOne() ? `/tasks/${task}` : "/tasks");
}

/** Give a task the name and tags of the form, where there are any. */
async function describe(task) {
  const said = {};
  const tags = tagsOf(form);
  if (tags.length) said.tags = tags;
  const name = form.elements.name.value.trim() || sharedName();
  if (isOne() && name) said.name = name;
  if (Object.keys(said).length) await ask("PUT", `/tasks/${task}`, token, said);
}

const tagsOf = ({ elements }) => elements.tags.value.split(",").map((tag) => tag.trim()).filter(Boolean);

/** What is wrong with what is filled in, in words for a person; "" if nothing is. */
function fault() {
  if (!files.length) return "Choose a recording first.";
  const odd = files.find((file) => !suffixes.some((suffix) => file.name.toLowerCase().endsWith(suffix)));
  if (odd) return `${odd.name} is none of ${suffixes.join(", ")}. If it is a folder, choose the files in it.`;
  const large = files.find((file) => file.size > Number(largest));
  if (large) return `${large.name} is too large: a file may have ${size(Number(largest))}.`;
  const empty = files.find((file) => !file.size);
  if (empty) return `There is nothing in ${empty.name}.`;
  if (form.elements.name.value.trim().length > MOST_LETTERS) return `A name may have ${MOST_LETTERS} letters.`;
  const tags = tagsOf(form);
  if (tags.length > MOST_TAGS) return `Use at most ${MOST_TAGS} tags.`;
  const long = tags.find((tag) => tag.length > MOST_TAG_LETTERS);
  return long ? `The tag “${long}” has more than ${MOST_TAG_LETTERS} letters.` : "";
}

/** How the names of several files begin, if that is a name. */
function sharedName() {
  if (files.length < 2) return "";
  const [first, ...others] = files.map((file) => file.name);
  const end = [...first].findIndex((letter, at) => others.some((other) => other[at] !== letter));
  const shared = first.slice(0, Math.max(0, end)).replace(/[\d\s._-]+$/u, "");
  return shared.length > 2 ? shared : "";
}

function tell(index, bytes, total, waiting) {
  if (!startedAt) [startedAt, startedWith] = [performance.now(), bytes];
  bar.max = total;
  bar.value = bytes;
  const percent = Math.floor((bytes / total) * 100);
  const seconds = (performance.now() - startedAt) / 1000;
  const rate = (bytes - startedWith) / seconds;
  const left = seconds > 2 && rate > 0 ? `, ${inWords((total - bytes) / rate)} left` : "";
  const which = files.length > 1 ? `, file ${index + 1} of ${files.length}` : "";
  const pause = waiting ? "No connection, trying again. " : "";
  find("[data-progress-words]").textContent = `${pause}${size(bytes)} of ${size(total)}${which}${waiting ? "" : left}`;
  if (percent >= told + TELL_EVERY || waiting) {
    told = percent;
    news.textContent = waiting ? "No connection, trying again." : `${percent} percent sent`;
  }
}

function inWords(seconds) {
  if (seconds < 90) return `${Math.max(1, Math.round(seconds))} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

function show(state) {
  form.dataset.state = state;
  find("[data-choice]").disabled = state !== "choosing";
  find("[data-sending]").hidden = state === "choosing";
  find("[data-send]").hidden = state !== "choosing";
  find("[data-pause]").hidden = state !== "sending";
  find("[data-resume]").hidden = state !== "paused";
  if (state === "paused") {
    news.textContent = "Paused";
    find("[data-resume]").focus();
  }
}

async function cancel() {
  const task = current?.abandon();
  current = null;
  show("choosing");
  input.value = "";
  choose([]);
  news.textContent = "Cancelled";
  input.focus();
  if (task) await ask("DELETE", `/tasks/${task}`, token).catch(() => null);
  await look();
}

input.multiple = true;
input.required = false;
input.addEventListener("change", () => choose(input.files));
find("[data-several]").addEventListener("change", () => choose(files));
find("[data-pause]").addEventListener("click", () => current?.stop());
find("[data-resume]").addEventListener("click", send);
find("[data-cancel]").addEventListener("click", cancel);
form.addEventListener("submit", (event) => {
  event.preventDefault();
  say(fault());
  if (trouble.hidden) send();
  else if (!files.length) input.focus();
});
for (const kind of ["dragenter", "dragover"]) {
  form.addEventListener(kind, (event) => {
    if (form.dataset.state !== "choosing" || !event.dataTransfer.types.includes("Files")) return;
    event.preventDefault();
    form.classList.add("over");
  });
}
form.addEventListener("dragleave", (event) => {
  if (!form.contains(event.relatedTarget)) form.classList.remove("over");
});
form.addEventListener("drop", (event) => {
  form.classList.remove("over");
  if (form.dataset.state !== "choosing" || !event.dataTransfer.files.length) return;
  event.preventDefault();
  input.files = event.dataTransfer.files;
  choose(input.files);
  find("[data-send]").focus();
});
addEventListener("beforeunload", (event) => {
  if (form.dataset.state === "sending" && current) event.preventDefault();
});

// The list

/** Show the list as it is now; true if that is news. */
async function look() {
  const answer = await fetch(location.href).catch(() => null);
  if (!answer?.ok || answer.redirected) return false;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const [shown, fresh] = [document, page].map((where) => where.querySelector("[data-tasks]"));
  if (shown.innerHTML === fresh.innerHTML) return false;
  const focused = shown.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
  const was = new Map([...shown.querySelectorAll("[data-task]")].map((item) => [item.dataset.task, item.dataset.status]));
  const ended = [...fresh.querySelectorAll("[data-task][data-ended]")].filter(
    (item) => was.has(item.dataset.task) && was.get(item.dataset.task) !== item.dataset.status,
  );
  shown.replaceWith(fresh);
  if (focused) fresh.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
  const said = ended.map((item) => `${item.querySelector("h3").textContent}: ${item.querySelector(".status").textContent}`);
  if (said.length) document.querySelector("[data-tasks-news]").textContent = said.join(". ");
  return true;
}

/** Look again, less and less often while nothing changes. */
async function follow(wait) {
  let changed = false;
  if (!document.hidden && document.querySelector("[data-tasks] [data-task]:not([data-ended])")) changed = await look();
  const next = changed ? POLL_MS : Math.min(wait * 1.3, LONGEST_MS);
  setTimeout(() => follow(next), next);
}

show("choosing");
choose(input.files);
setTimeout(() => follow(POLL_MS), POLL_MS);
