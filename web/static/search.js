/** Suggests names and titles while somebody types. Without it the form searches as any form does. */

const WAIT_MS = 120;
const PLACES = {
  book: (id) => `/books/${id}`,
  author: (id) => `/authors/${id}`,
  narrator: (id) => `/narrators/${id}`,
  series: (id) => `/series/${id}`,
  genre: (id) => `/search?genre=${encodeURIComponent(id)}`,
};

const root = document.querySelector("[data-search]");
const input = root.querySelector("input");
const list = root.querySelector("[data-suggestions]");
const news = root.querySelector("[data-suggestions-news]");
let timer;
let asking;
let chosen = -1;

input.setAttribute("role", "combobox");
input.setAttribute("aria-autocomplete", "list");
input.setAttribute("aria-controls", list.id);
input.setAttribute("aria-expanded", "false");

function close() {
  clearTimeout(timer);
  asking?.abort();
  list.hidden = true;
  input.setAttribute("aria-expanded", "false");
  choose(-1);
}

function choose(index) {
  chosen = index;
  [...list.children].forEach((option, at) => option.setAttribute("aria-selected", String(at === index)));
  const option = list.children[index];
  if (option) input.setAttribute("aria-activedescendant", option.id);
  else input.removeAttribute("aria-activedescendant");
  option?.scrollIntoView({ block: "nearest" });
}

function show(items) {
  list.replaceChildren(
    ...items.map(({ kind, id, text }, at) => {
      const option = document.createElement("li");
      option.id = `search-suggestion-${at}`;
      option.setAttribute("role", "option");
      const link = document.createElement("a");
      link.href = PLACES[kind](id);
      link.tabIndex = -1;
      link.textContent = text;
      const what = document.createElement("small");
      what.textContent = kind;
      link.append(" ", what);
      option.append(link);
      return option;
    }),
  );
  choose(-1);
  list.hidden = items.length === 0;
  input.setAttribute("aria-expanded", String(items.length > 0));
  news.textContent = items.length ? `${items.length} suggestions` : "";
}

async function suggest() {
  const words = input.value.trim().slice(0, 200);
  if (!words) return close();
  asking?.abort();
  asking = new AbortController();
  try {
    const answer = await fetch(`/api/v1/audiobooks/suggest?q=${encodeURIComponent(words)}`, { signal: asking.signal });
    if (answer.ok) show((await answer.json()).items);
  } catch (error) {
    if (error.name !== "AbortError") close();
  }
}

input.addEventListener("input", () => {
  clearTimeout(timer);
  timer = setTimeout(suggest, WAIT_MS);
});
input.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !list.hidden) {
    event.preventDefault();
    close();
  } else if ((event.key === "ArrowDown" || event.key === "ArrowUp") && !list.hidden) {
    event.preventDefault();
    const count = list.children.length + 1;
    choose(((chosen + 1 + (event.key === "ArrowDown" ? 1 : -1) + count) % count) - 1);
  } else if (event.key === "Enter" && chosen >= 0) {
    event.preventDefault();
    list.children[chosen].querySelector("a").click();
  }
});
root.addEventListener("focusout", ({ relatedTarget }) => {
  if (!root.contains(relatedTarget)) close();
});
list.addEventListener("mousedown", (event) => event.preventDefault());
