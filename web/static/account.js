/** Shows a picture before it is sent, and how the copy of one's data comes along. Everything works without. */

const POLL_MS = 2_000;

const preview = document.querySelector("[data-preview]");
document.querySelector("[data-picture]").addEventListener("change", ({ target }) => {
  const [file] = target.files;
  if (!file?.type.startsWith("image/")) return;
  const reader = new FileReader();
  reader.addEventListener("load", () => {
    const image = new Image(96, 96);
    image.alt = "The picture that you have chosen";
    image.src = reader.result;
    preview.replaceChildren(image);
  });
  reader.readAsDataURL(file);
});

const news = document.querySelector("[data-export-news]");

async function watch() {
  let shown = document.querySelector("[data-exports]");
  if (shown.dataset.exports !== "running") return;
  if (!document.hidden) {
    const answer = await fetch("/account").catch(() => null);
    if (answer?.redirected) return;
    if (answer?.ok) {
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.querySelector("[data-exports]");
      shown.replaceWith(fresh);
      shown = fresh;
      if (fresh.dataset.exports !== "running") news.textContent = "Your copy is made.";
    }
  }
  setTimeout(watch, POLL_MS);
}

setTimeout(watch, POLL_MS / 2);
