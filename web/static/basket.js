/** The cart's page before sign-in: the kept books, with their prices of this moment. */

import { drop, readKept } from "./kept.js";

const box = document.querySelector("[data-basket]");
const empty = document.querySelector("[data-basket-empty]");
const list = document.querySelector("[data-basket-lines]");
const total = document.querySelector("[data-basket-total]");
const news = document.querySelector("[data-basket-news]");
const known = new Map();

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}

function write({ amount, currency }) {
  if (!amount) return "Free";
  const style = new Intl.NumberFormat("en", { style: "currency", currency });
  const digits = style.resolvedOptions().maximumFractionDigits;
  return `${(amount / 10 ** digits).toFixed(digits)} ${currency}`;
}

/** The price of a book in the visitor's currency if it has one in that, else its own. */
function priceOf(book) {
  const prices = [book.price, ...book.other_prices].filter(Boolean);
  return prices.find((price) => price.currency === box.dataset.currency) ?? prices[0] ?? null;
}

/** What the catalog has of a book; null for one that is not on sale. Throws where nobody can tell. */
async function look(id) {
  if (known.has(id)) return known.get(id);
  const answer = await fetch(`/api/v1/audiobooks/${id}`, { headers: { Accept: "application/json" } });
  if (!answer.ok && answer.status !== 404) throw new Error(answer.status);
  const found = answer.ok ? await answer.json() : null;
  const book = found?.visibility === "published" && found.price ? found : null;
  known.set(id, book);
  return book;
}

function build({ id, title }, book) {
  const item = element("li", "item with-cover");
  const image = new Image(96, 96);
  image.alt = "";
  image.src = book?.cover_url ?? box.dataset.noCover;
  const words = element("div", "item-words");
  const heading = element("h3");
  const link = element("a", "", book?.title ?? title);
  link.href = `/books/${book?.slug ?? id}`;
  heading.append(book ? link : document.createTextNode(title));
  words.append(heading);
  if (book?.authors.length) words.append(element("p", "quiet", book.authors.map((author) => author.name).join(", ")));
  if (book === null) words.append(element("p", "status bad", "Not on sale any more"));
  if (book === undefined) words.append(element("p", "status", "Its price cannot be shown right now"));
  const remove = element("button", "link", "Remove");
  remove.type = "button";
  remove.append(element("span", "visually-hidden", `: ${title}`));
  remove.addEventListener("click", async () => {
    drop(id);
    dispatchEvent(new Event("cart-changed"));
    await show();
    news.textContent = `${title} is out of your cart.`;
    (list.querySelector("button") ?? empty.querySelector("a")).focus();
  });
  words.append(remove);
  item.append(image, words, element("span", "price", book ? write(priceOf(book)) : "–"));
  return item;
}

async function show() {
  const kept = readKept();
  const books = await Promise.all(kept.map(({ id }) => look(id).catch(() => undefined)));
  empty.hidden = kept.length > 0;
  box.hidden = kept.length === 0;
  list.replaceChildren(...kept.map((entry, at) => build(entry, books[at])));
  const prices = books.filter(Boolean).map(priceOf);
  const [currency, ...others] = new Set(prices.filter((price) => price.amount).map((price) => price.currency));
  const amount = prices.reduce((sum, price) => sum + price.amount, 0);
  total.textContent = others.length ? "In several currencies" : write({ amount, currency });
}

addEventListener("storage", show);
show();
