/** Follows a recording until it is heard. Without it, the page shows how far it has come when it is loaded. */

const POLL_MS = 1_500;
const LONGEST_MS = 15_000;
const news = document.querySelector("[data-task-news]");

async function follow(wait) {
  const shown = document.querySelector("[data-standing]");
  let changed = false;
  if (!document.hidden) {
    const answer = await fetch(location.pathname).catch(() => null);
    if (answer?.redirected || answer?.status === 404) return location.reload();
    if (answer?.ok) {
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.querySelector("[data-standing]");
      const facts = [document, page].map((where) => where.querySelector(".task-head .facts"));
      facts[0].replaceWith(facts[1]);
      changed = shown.innerHTML !== fresh.innerHTML;
      shown.replaceWith(fresh);
      if (!("goesOn" in fresh.dataset)) {
        news.textContent = "There is news of this recording.";
        if (document.querySelector("audio")?.paused ?? true) location.reload();
        return;
      }
    }
  }
  const next = changed ? POLL_MS : Math.min(wait * 1.2, LONGEST_MS);
  setTimeout(() => follow(next), next);
}

if ("goesOn" in document.querySelector("[data-standing]").dataset) setTimeout(() => follow(POLL_MS), POLL_MS / 2);
