/** Copies and prints recovery codes; without script they can be selected and printed as any text. */

const find = (selector) => document.querySelector(selector);
const codes = [...document.querySelectorAll("[data-codes] code")].map((code) => code.textContent);

find("[data-actions]").hidden = false;
find("[data-print]").addEventListener("click", () => print());
find("[data-copy]").addEventListener("click", async () => {
  const copied = await navigator.clipboard?.writeText(codes.join("\n")).then(() => true, () => false);
  find("[data-copied]").textContent = copied ? "Copied" : "Your browser does not let us copy. Select them instead.";
});
