/** Follows an order until it is paid or not, and prints it. Without it, a button looks. */

const FIRST_MS = 3_000;
const LONGEST_MS = 30_000;

const root = document.querySelector("[data-order]");
const { order, state, csrf } = root.dataset;
const news = document.querySelector("[data-order-news]");

document.querySelector("[data-actions]").hidden = false;
document.querySelector("[data-print]").addEventListener("click", () => print());

/** Ask whether it is paid: the same that the provider's own message does, whichever comes first. */
async function look() {
  const headers = { "X-CSRF-Token": csrf };
  const answer = await fetch(`/api/v1/orders/${order}/confirm`, { method: "POST", headers }).catch(() => null);
  if (!answer?.ok) return;
  if ((await answer.json()).state !== state) {
    news.textContent = "There is news of this order.";
    location.reload();
  }
}

async function follow(wait) {
  if (!document.hidden) await look();
  setTimeout(() => follow(Math.min(wait * 1.5, LONGEST_MS)), wait);
}

if (state === "pending") follow(FIRST_MS);
