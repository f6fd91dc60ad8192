/** The cart that a browser keeps until its owner signs in: books by id and title, in localStorage. */

const KEY = "aloud-cart";
const ID = /^[0-9a-z]{26}$/;
export const MAX_BOOKS = 50;

/** What is kept, the first to be added first: [{ id, title }]. */
export function readKept() {
  try {
    const found = JSON.parse(localStorage.getItem(KEY) ?? "[]");
    return found.filter((book) => ID.test(book?.id) && typeof book.title === "string").slice(0, MAX_BOOKS);
  } catch {
    return [];
  }
}

function write(books) {
  try {
    if (books.length) localStorage.setItem(KEY, JSON.stringify(books));
    else localStorage.removeItem(KEY);
    return true;
  } catch {
    return false;
  }
}

/** Keep a book; false where the browser keeps nothing, or the cart is full. */
export function keep(id, title) {
  const books = readKept();
  if (books.some((book) => book.id === id)) return true;
  return books.length < MAX_BOOKS && write([...books, { id, title }]);
}

export function drop(id) {
  write(readKept().filter((book) => book.id !== id));
}

/** Forget these books, which the server has by now; what another tab has added meanwhile stays. */
export function forget(books) {
  const gone = new Set(books.map((book) => book.id));
  write(readKept().filter((book) => !gone.has(book.id)));
}
