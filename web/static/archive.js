/** Follows a ZIP until it is made. Without it, a link loads the page again. */

const POLL_MS = 1_500;
const news = document.querySelector("[data-archive-news]");
const isUnderWay = (section) => ["waiting", "running"].includes(section.dataset.archive);

async function follow() {
  let shown = document.querySelector("[data-archive]");
  if (!document.hidden) {
    const answer = await fetch(location.pathname).catch(() => null);
    if (answer?.redirected) return;
    if (answer?.ok) {
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.querySelector("[data-archive]");
      shown.replaceWith(fresh);
      shown = fresh;
      if (!isUnderWay(fresh)) news.textContent = fresh.querySelector("h2").textContent;
    }
  }
  if (isUnderWay(shown)) setTimeout(follow, POLL_MS);
}

if (isUnderWay(document.querySelector("[data-archive]"))) setTimeout(follow, POLL_MS / 2);
