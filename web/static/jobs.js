/** Keeps the administrator's shelf of books in the making up to date. */

const POLL_MS = 2_000;
const IDLE_MS = 15_000;
const STAGES = ["waiting", "uploaded", "planning", "transcribing", "assembling", "enriching"];
const FAILED = ["rejected", "transcription_failed", "cancelled"];
const SHARES = { waiting: 0, uploaded: 0.02, planning: 0.05, transcribing: 0.1, assembling: 0.9, enriching: 0.95 };

const shelf = document.querySelector("[data-works]");
const list = document.querySelector("[data-jobs]");
const news = document.querySelector("[data-jobs-news]");
const running = new Map();
let painted = "";
let timer = 0;

function shareDone(job) {
  const { total, done, failed } = job.chunks;
  const transcribed = job.status === "transcribing" && total ? (0.8 * (done + failed)) / total : 0;
  return SHARES[job.status] + transcribed;
}

function describe(job) {
  const words = job.status.replaceAll("_", " ");
  return job.status === "transcribing" && job.chunks.total ? `${words}, ${job.chunks.done} of ${job.chunks.total}` : words;
}

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}

function build(job) {
  const item = element("li", "job");
  item.dataset.job = job.id;
  const name = job.title || job.blob_name;
  item.append(element("strong", "", name));
  const failed = FAILED.includes(job.status);
  item.append(element("span", failed ? "status bad" : "status", describe(job)));
  if (STAGES.includes(job.status)) {
    const bar = document.createElement("progress");
    bar.max = 1;
    bar.value = shareDone(job);
    bar.setAttribute("aria-label", `Progress of ${name}`);
    item.append(bar);
  }
  if (job.status === "ready") {
    const line = document.createElement("p");
    const link = element("a", "", "Open the book");
    link.href = `/books/${job.audiobook_id}`;
    line.append(link);
    item.append(line);
  }
  if (job.reason) item.append(element("p", "", job.reason));
  if (job.status === "transcription_failed") {
    const again = element("button", "button plain", "Try again");
    again.type = "button";
    again.setAttribute("aria-label", `Try ${name} again`);
    again.addEventListener("click", () => retry(job, again));
    item.append(again);
  }
  return item;
}

function show(jobs) {
  const wanted = jobs.filter((job) => job.status !== "ready" || running.has(job.id));
  shelf.hidden = wanted.length === 0;
  const state = JSON.stringify(wanted);
  if (state !== painted) list.replaceChildren(...wanted.map(build));
  painted = state;
  const ended = jobs.filter((job) => running.get(job.id) === "running" && !STAGES.includes(job.status));
  if (ended.length) news.textContent = ended.map((job) => `${job.title || job.blob_name}: ${describe(job)}`).join(". ");
  for (const job of jobs) {
    if (STAGES.includes(job.status)) running.set(job.id, "running");
    else if (running.has(job.id)) running.set(job.id, "ended");
  }
  return jobs.some((job) => STAGES.includes(job.status));
}

async function retry(job, button) {
  button.disabled = true;
  const headers = { "X-CSRF-Token": shelf.dataset.csrf };
  const answer = await fetch(`/api/v1/admin/jobs/${job.id}/retry`, { method: "POST", headers }).catch(() => null);
  button.disabled = false;
  news.textContent = answer?.ok ? "Started again" : "It could not be started again";
  clearTimeout(timer);
  await poll();
}

async function poll() {
  let busy = false;
  if (!document.hidden) {
    try {
      const answer = await fetch("/api/v1/admin/jobs?limit=20");
      if (answer.status === 401 || answer.status === 403) return;
      if (answer.ok) busy = show((await answer.json()).items);
    } catch {
      // The server is away for a moment; the next turn asks again.
    }
  }
  timer = setTimeout(poll, busy ? POLL_MS : IDLE_MS);
}

poll();
