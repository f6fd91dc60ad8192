/**
 * The number beside the cart; "Add to cart" before sign-in; and, after it, the way of the kept books to the server.
 * How many books a signed-in person's cart has is remembered from the pages that know it, so that none has to ask.
 */

import { forget, keep, readKept } from "./kept.js";

const COUNT = "aloud-cart-count";
const NEWS = "aloud-cart-news";
const REASONS = { owned: "yours already, or being bought", unavailable: "not on sale any more", full: "the cart is full" };

const link = document.querySelector("[data-cart]");
const badge = link.querySelector("[data-cart-count]");
const { listener, csrf, count } = link.dataset;

function paint(number) {
  badge.querySelector("[data-number]").textContent = number;
  badge.hidden = !number;
}

function remember(number) {
  try {
    localStorage.setItem(COUNT, JSON.stringify({ listener, number }));
  } catch {
    // Without storage the number is shown where the server knows it.
  }
}

function remembered() {
  try {
    const known = JSON.parse(localStorage.getItem(COUNT));
    return known?.listener === listener && Number.isInteger(known.number) ? known.number : 0;
  } catch {
    return 0;
  }
}

function tell(text) {
  const notice = document.createElement("p");
  notice.className = "notice news";
  notice.setAttribute("role", "status");
  notice.tabIndex = -1;
  notice.textContent = text;
  document.querySelector("main .frame").prepend(notice);
  notice.focus();
}

function describe(books, skipped) {
  const titles = new Map(books.map((book) => [book.id, book.title]));
  const came = books.length - skipped.length;
  const said = came ? [`${came} ${came === 1 ? "book" : "books"} from this browser ${came === 1 ? "is" : "are"} in your cart now.`] : [];
  for (const { audiobook_id: id, reason } of skipped) said.push(`“${titles.get(id)}” was left out: ${REASONS[reason]}.`);
  return said.join(" ");
}

/** Hand the kept books over, then load the page anew: what it says of the cart has changed. */
async function merge(books) {
  const answer = await fetch("/api/v1/cart/merge", {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-CSRF-Token": csrf },
    body: JSON.stringify({ audiobook_ids: books.map((book) => book.id) }),
  }).catch(() => null);
  if (answer?.status === 422) forget(books); // they cannot be ours
  if (!answer?.ok) return;
  const cart = await answer.json();
  forget(books);
  remember(cart.items.length);
  try {
    sessionStorage.setItem(NEWS, describe(books, cart.skipped));
  } catch {
    // The cart tells what is in it.
  }
  location.reload();
}

function tellWhatCame() {
  try {
    const text = sessionStorage.getItem(NEWS);
    sessionStorage.removeItem(NEWS);
    if (text) tell(text);
  } catch {
    // Nothing was kept.
  }
}

if (listener) {
  if (count !== undefined) remember(Number(count));
  paint(count === undefined ? remembered() : Number(count));
  tellWhatCame();
  const books = readKept();
  if (books.length) merge(books);
} else {
  const update = () => paint(readKept().length);
  update();
  addEventListener("storage", update);
  addEventListener("cart-changed", update);
}

const add = document.querySelector("[data-cart-add]");
if (add) {
  const { cartAdd: id, title } = add.dataset;
  const open = document.querySelector("[data-cart-open]");
  const show = () => {
    const isKept = readKept().some((book) => book.id === id);
    add.hidden = isKept;
    open.hidden = !isKept;
  };
  add.addEventListener("click", () => {
    const isKept = keep(id, title);
    document.querySelector("[data-cart-said]").textContent = isKept
      ? "It is in your cart now."
      : "Your browser cannot keep it. Sign in to buy it.";
    dispatchEvent(new Event("cart-changed"));
    show();
    if (isKept) open.focus();
  });
  addEventListener("storage", show);
  show();
}
