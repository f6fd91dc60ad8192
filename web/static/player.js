/** The player of a page, for a book or a private recording; other scripts use what it exports. */

import { clock } from "./clock.js";
import { Progress } from "./progress.js";
import { fetchJson, RefusedError, Source } from "./source.js";
import { lastAtOrBefore } from "./timeline.js";
import { TranscriptView } from "./transcript.js";

const BACK = 15;
const FORWARD = 30;
const STEP = 5;
const TOAST_MS = 2_500;

const calm = matchMedia("(prefers-reduced-motion: reduce)");
const find = (selector) => document.querySelector(selector);
const player = find("[data-player]");
const audio = find("[data-audio]");
const seekBar = find("[data-seek]");
const speed = find("[data-speed]");
const volume = find("[data-volume]");
const chapterButtons = [...document.querySelectorAll(".chapters [data-start]")];
const chapters = chapterButtons.map((button) => ({ title: button.dataset.title, start: Number(button.dataset.start) }));

const duration = Number(player.dataset.duration);
const speedKey = "aloud.speed";

let position = 0;
let dragging = false;
let chapterNow = -1;
let secondNow = -1;
let frame = 0;
let toastTimer = 0;

const starts = player.dataset.parts.split(" ").map(Number);
const source = new Source(audio, player.dataset.audioAddress, starts, (sentence) => {
  find("[data-message]").textContent = sentence;
});
const progress = player.dataset.book && new Progress(audio, source, player.dataset, (seconds) => {
  if (linkedSecond() !== null) return;
  show(seconds);
  source.seek(seconds);
  say(`Moved to ${clock(seconds)}, where you stopped on another device`);
});
const transcript = new TranscriptView(find("[data-transcript]"), find("[data-do=follow]"), (seconds) => {
  seek(seconds);
  source.play();
});

// What is shown

function show(seconds) {
  position = seconds;
  transcript.show(seconds);
  const second = Math.floor(seconds);
  if (second === secondNow) return;
  secondNow = second;
  if (!dragging) showPosition(seconds);
  showChapter(lastAtOrBefore(chapters.length, (i) => chapters[i].start, seconds + 0.01));
}

function showPosition(seconds) {
  seekBar.value = seconds;
  seekBar.style.setProperty("--filled", `${duration ? Math.min(100, (seconds / duration) * 100) : 0}%`);
  find("[data-time]").textContent = clock(seconds);
  find("[data-left]").textContent = `−${clock(Math.max(0, duration - seconds))}`;
  if (dragging || document.activeElement !== seekBar) tellPosition(seconds);
}

function tellPosition(seconds) {
  seekBar.setAttribute("aria-valuetext", `${clock(seconds)} of ${clock(duration)}`);
}

function showChapter(index) {
  if (index === chapterNow) return;
  chapterButtons[chapterNow]?.removeAttribute("aria-current");
  chapterButtons[index]?.setAttribute("aria-current", "true");
  keepInView(chapterButtons[index]);
  chapterNow = index;
  find("[data-chapter]").textContent = chapters[index]?.title ?? "";
}

function keepInView(button) {
  const list = button?.closest("ol");
  if (!list) return;
  const [view, row] = [list.getBoundingClientRect(), button.getBoundingClientRect()];
  if (row.top < view.top || row.bottom > view.bottom) list.scrollTop += row.top - view.top - view.height / 3;
}

function showPlaying() {
  const playing = !audio.paused;
  const play = find("[data-play]");
  play.toggleAttribute("data-on", playing);
  play.setAttribute("aria-label", playing ? "Pause" : "Play");
  const listening = find("[data-listen]");
  if (!listening) return;
  listening.querySelector("span").textContent = playing ? "Pause" : "Listen";
  listening.querySelector("use").setAttribute("href", find(`[data-play] .${playing ? "is-on" : "is-off"} use`).getAttribute("href"));
}

function say(words) {
  const news = find("[data-news]");
  news.textContent = words;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => {
    news.textContent = "";
  }, TOAST_MS);
}

function showMarks() {
  if (!duration) return;
  const marks = chapters.slice(1).map((chapter) => {
    const mark = document.createElement("i");
    mark.style.setProperty("left", `${(chapter.start / duration) * 100}%`);
    return mark;
  });
  find("[data-marks]").replaceChildren(...marks);
}

// What a person does

export function seek(seconds) {
  const target = Math.min(Math.max(0, seconds), duration || Infinity);
  show(target);
  source.seek(target);
  if (progress) progress.jump(target);
}

/** Where in the recording the page is, in seconds. */
export const here = () => position;

/** Play from a second on, and have the transcript follow. */
export function playFrom(seconds) {
  seek(seconds);
  transcript.follow();
  source.play();
}

function mute() {
  audio.muted = !audio.muted;
}

async function share() {
  const url = `${location.origin}${location.pathname}#t=${Math.floor(position)}`;
  try {
    await navigator.clipboard.writeText(url);
    say(`Link to ${clock(position)} copied`);
  } catch {
    history.replaceState(null, "", url);
    say(`The address now points to ${clock(position)}`);
  }
}

/** The big button: play, and show the words that are spoken. */
function listen() {
  const starting = audio.paused;
  actions.toggle();
  if (starting) find("[data-reading]").scrollIntoView({ behavior: calm.matches ? "instant" : "smooth", block: "start" });
}

const actions = {
  listen,
  toggle: () => (audio.paused ? source.play() : audio.pause()),
  back: () => seek(position - BACK),
  forward: () => seek(position + FORWARD),
  mute,
  share,
  follow: () => transcript.follow(),
};

document.addEventListener("click", (event) => {
  const target = event.target.closest("[data-do], .chapters [data-start]");
  if (!target) return;
  if (target.dataset.do) {
    actions[target.dataset.do]();
  } else {
    seek(Number(target.dataset.start));
    transcript.follow();
  }
});

const keys = {
  " ": actions.toggle,
  k: actions.toggle,
  j: actions.back,
  l: actions.forward,
  ArrowLeft: () => seek(position - STEP),
  ArrowRight: () => seek(position + STEP),
  m: mute,
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const act = keys[key];
  const typing = "select, textarea, input:not([type=range])";
  const own = key === " " ? "button, a, summary" : key.startsWith("Arrow") ? "input" : null;
  if (!act || event.target.closest(typing) || (own && event.target.closest(own))) return;
  event.preventDefault();
  act();
});

seekBar.addEventListener("input", () => {
  dragging = true;
  showPosition(Number(seekBar.value));
});
seekBar.addEventListener("change", () => {
  dragging = false;
  seek(Number(seekBar.value));
});
seekBar.addEventListener("focus", () => tellPosition(position));

speed.addEventListener("change", () => {
  setSpeed(Number(speed.value));
  write(speedKey, JSON.stringify([speed.dataset.speed, speed.value]));
  if (progress) progress.keepSpeed(Number(speed.value));
});
volume.addEventListener("input", () => {
  audio.volume = Number(volume.value);
  audio.muted = false;
});

function setSpeed(rate) {
  audio.defaultPlaybackRate = rate;
  audio.playbackRate = rate;
}

// What the recording does

function run() {
  show(source.time);
  frame = audio.paused ? 0 : requestAnimationFrame(run);
}

audio.addEventListener("play", () => {
  showPlaying();
  cancelAnimationFrame(frame);
  frame = requestAnimationFrame(run);
});
for (const name of ["pause", "ended"]) audio.addEventListener(name, showPlaying);
audio.addEventListener("seeked", () => show(source.time));
audio.addEventListener("volumechange", () => {
  const button = find("[data-mute]");
  button.toggleAttribute("data-on", audio.muted);
  button.setAttribute("aria-pressed", String(audio.muted));
  const level = audio.muted ? 0 : audio.volume;
  volume.value = level;
  volume.style.setProperty("--filled", `${level * 100}%`);
});

// Where a person stopped

function read(key) {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

function write(key, value) {
  try {
    localStorage.setItem(key, value);
  } catch {
    // A browser without storage forgets; nothing else depends on it.
  }
}

function linkedSecond() {
  const found = /^#t=(\d+(?:\.\d+)?)$/.exec(location.hash);
  return found ? Number(found[1]) : null;
}

function firstPosition() {
  const start = linkedSecond() ?? (progress?.first < duration - 5 ? progress.first : 0);
  return duration ? Math.min(start, duration) : start;
}

addEventListener("hashchange", () => {
  const second = linkedSecond();
  if (second !== null) {
    seek(second);
    transcript.follow();
  }
});

function tellSystem() {
  if (!("mediaSession" in navigator)) return;
  const { title, author: artist, cover } = player.dataset;
  const artwork = cover ? [{ src: new URL(cover, location.href).href }] : [];
  navigator.mediaSession.metadata = new MediaMetadata({ title, artist, artwork });
  navigator.mediaSession.setActionHandler("seekbackward", actions.back);
  navigator.mediaSession.setActionHandler("seekforward", actions.forward);
  navigator.mediaSession.setActionHandler("play", () => source.play());
  navigator.mediaSession.setActionHandler("pause", () => audio.pause());
}

/** Show the transcript as it is now, or why there is none; resolves to its segments. */
export async function loadTranscript() {
  try {
    const content = await fetchJson(`${player.dataset.transcriptAddress}?format=json`);
    if (content.segments.length || content.gaps.length) transcript.fill(content, chapters);
    else transcript.tell("Nobody speaks in this recording.");
    find("[data-timing]").hidden = content.timing !== "estimated";
    transcript.show(position);
    return content.segments;
  } catch (error) {
    if (!(error instanceof RefusedError || error instanceof TypeError)) throw error;
    transcript.tell(error instanceof RefusedError ? error.message : "The transcript could not be loaded.");
    return [];
  }
}

player.hidden = false;
find("[data-listen]")?.removeAttribute("hidden");
new ResizeObserver(() => {
  document.documentElement.style.setProperty("--player-height", `${player.offsetHeight}px`);
}).observe(player);

/** A speed that was chosen here counts until the profile has it, or has another one. */
function firstSpeed() {
  const [before, chosen] = JSON.parse(read(speedKey) ?? "[]");
  if (before === speed.dataset.speed && [...speed.options].some((option) => option.value === chosen)) return chosen;
  return speed.value;
}

speed.value = firstSpeed();
setSpeed(Number(speed.value));
volume.style.setProperty("--filled", "100%");
showMarks();
tellSystem();
show(firstPosition());
source.open(position);

transcript.tell("Loading the transcript…");

/** The segments of the transcript, once it is shown. */
export const loaded = loadTranscript();
