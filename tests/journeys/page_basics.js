// Runs in a page and returns what is wrong with it, in words; [] for a sound page.
() => {
  const faults = [];
  const all = (selector) => [...document.querySelectorAll(selector)];
  const levels = all("h1, h2, h3, h4").map((heading) => Number(heading.tagName[1]));
  if (levels.filter((level) => level === 1).length !== 1) faults.push("not one h1");
  for (const [i, level] of levels.entries()) {
    if (i && level > levels[i - 1] + 1) faults.push(`h${levels[i - 1]}, then h${level}`);
  }
  for (const image of document.images) {
    if (!image.hasAttribute("alt")) faults.push(`no alt: ${image.src}`);
  }
  for (const control of all("input:not([type=hidden]), select")) {
    if (!control.labels?.length && !control.ariaLabel) faults.push(`no label: ${control.outerHTML}`);
  }
  for (const target of all("button, a")) {
    if (!(target.ariaLabel || target.textContent.trim())) faults.push(`no name: ${target.outerHTML}`);
  }
  const ids = all("[id]").map((element) => element.id);
  if (new Set(ids).size !== ids.length) faults.push("an id is used twice");
  if (!document.documentElement.lang || !document.title) faults.push("no language or title");
  if (all("main").length !== 1) faults.push("not one main landmark");
  const wide = document.documentElement.scrollWidth - innerWidth;
  if (wide > 0) faults.push(`${wide} pixels too wide`);
  return faults;
};
