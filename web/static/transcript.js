import { clock } from "./clock.js";
import { Timeline } from "./timeline.js";

const PARAGRAPH_PAUSE = 0.9;
const PARAGRAPH_LETTERS = 450;
const BLOCK_PARAGRAPHS = 12;
const SCROLL_KEYS = new Set(["PageUp", "PageDown", "Home", "End", "ArrowUp", "ArrowDown"]);

/**
 * The transcript on the page. All of its text is in the document from the start, so that the browser's
 * search and screen readers find it; only what is near the view is split into words.
 */
export class TranscriptView {
  #pane;
  #followButton;
  #timeline;
  #seek;
  #segments = [];
  #now = { segment: -1, token: -1, element: null };
  #following = true;
  #roving = null;
  #observer = null;
  #calm = matchMedia("(prefers-reduced-motion: reduce)");

  /** `seek(seconds)` is called when a person picks a word. */
  constructor(pane, followButton, seek) {
    this.#pane = pane;
    this.#followButton = followButton;
    this.#seek = seek;
    this.#listen();
  }

  /** Show a sentence in place of a transcript. */
  tell(sentence) {
    this.#clear();
    const note = document.createElement("p");
    note.className = "quiet";
    note.textContent = sentence;
    this.#pane.replaceChildren(note);
  }

  #clear() {
    this.#observer?.disconnect();
    this.#timeline = null;
    this.#segments = [];
    this.#now = { segment: -1, token: -1, element: null };
    this.#roving = null;
  }

  /** Show a transcript in place of the one before; `chapters` are `{title, start}` in seconds. */
  fill(transcript, chapters) {
    this.#clear();
    this.#timeline = new Timeline(transcript.segments);
    const items = layOut(transcript.segments, transcript.gaps ?? [], chapters);
    this.#observer = new IntersectionObserver((entries) => this.#splitNearView(entries), {
      root: this.#pane,
      rootMargin: "800px 0px",
    });
    const blocks = [];
    for (let from = 0; from < items.length; from += BLOCK_PARAGRAPHS) {
      blocks.push(this.#buildBlock(items.slice(from, from + BLOCK_PARAGRAPHS)));
    }
    this.#pane.replaceChildren(...blocks);
    for (const block of blocks) this.#observer.observe(block);
  }

  /** Mark what is said at `time`; keeps it in view as long as the view follows. */
  show(time) {
    if (!this.#timeline) return;
    const segment = this.#timeline.segmentAt(time);
    const token = segment < 0 ? -1 : this.#timeline.tokenAt(segment, time);
    const now = this.#now;
    if (segment !== now.segment) {
      this.#segments[now.segment]?.classList.remove("now");
      this.#segments[segment]?.classList.add("now");
    } else if (token === now.token && now.element?.isConnected) {
      return;
    }
    now.element?.classList.remove("now");
    const element = this.#wordElement(segment, token);
    element?.classList.add("now");
    this.#now = { segment, token, element };
    if (this.#following) this.#bringIntoView(false);
  }

  /** Go back to scrolling with the voice. */
  follow() {
    this.#setFollowing(true);
    this.#bringIntoView(true);
  }

  #setFollowing(following) {
    this.#following = following;
    this.#followButton.hidden = following;
  }

  #stopFollowing() {
    if (this.#following && this.#pane.scrollHeight > this.#pane.clientHeight) this.#setFollowing(false);
  }

  #bringIntoView(always) {
    const element = this.#now.element ?? this.#segments[this.#now.segment];
    if (!element) return;
    const view = this.#pane.getBoundingClientRect();
    const top = element.getBoundingClientRect().top - view.top;
    if (!always && top > view.height * 0.15 && top < view.height * 0.7) return;
    const distance = top - view.height * 0.3;
    const smooth = !this.#calm.matches && Math.abs(distance) < view.height * 2;
    this.#pane.scrollBy({ top: distance, behavior: smooth ? "smooth" : "instant" });
  }

  #buildBlock(items) {
    const block = document.createElement("div");
    block.className = "block";
    let letters = 0;
    for (const item of items) {
      if (item.chapter) block.append(this.#buildHeading(item.chapter));
      else if (item.gap) block.append(this.#buildGap(item.gap));
      else {
        block.append(this.#buildParagraph(item));
        letters += item.letters;
      }
    }
    block.style.setProperty("contain-intrinsic-height", `auto ${Math.ceil(letters / 50) * 2 + items.length}rem`);
    return block;
  }

  #buildHeading(chapter) {
    const heading = document.createElement("h3");
    heading.textContent = chapter.title;
    return heading;
  }

  #buildGap(gap) {
    const note = document.createElement("p");
    note.className = "gap";
    const reason = gap.reason ? `: ${gap.reason}` : "";
    note.textContent = `${clock(gap.start_seconds)} to ${clock(gap.end_seconds)} is missing from the transcript${reason}`;
    return note;
  }

  #buildParagraph({ first, last }) {
    const paragraph = document.createElement("p");
    paragraph.className = "paragraph";
    paragraph.dir = "auto";
    const start = this.#timeline.segments[first].start_seconds;
    const from = document.createElement("button");
    from.type = "button";
    from.className = "from";
    from.tabIndex = -1;
    from.dataset.start = start;
    from.textContent = clock(start);
    from.setAttribute("aria-label", `Play from ${clock(start)}`);
    paragraph.append(from);
    for (let index = first; index <= last; index += 1) {
      const segment = document.createElement("span");
      segment.className = "segment";
      segment.dataset.index = index;
      segment.textContent = this.#timeline.segments[index].text.trim();
      this.#segments[index] = segment;
      paragraph.append(segment, " ");
    }
    return paragraph;
  }

  #splitNearView(entries) {
    for (const { target, isIntersecting } of entries) {
      if (!isIntersecting && (target.contains(document.activeElement) || isSelected(target))) continue;
      for (const segment of target.querySelectorAll(".segment")) {
        if (isIntersecting) this.#split(segment);
        else if (segment.dataset.split) this.#join(segment);
      }
    }
    this.#markAgain();
  }

  #split(segment) {
    if (segment.dataset.split) return;
    const parts = [];
    for (const [index, token] of this.#timeline.tokens(Number(segment.dataset.index)).entries()) {
      const word = document.createElement("span");
      word.className = "word";
      word.dataset.index = index;
      word.textContent = token.text;
      parts.push(token.gap, word);
    }
    segment.replaceChildren(...parts);
    segment.dataset.split = "yes";
  }

  #join(segment) {
    segment.textContent = segment.textContent;
    delete segment.dataset.split;
  }

  #wordElement(segment, token) {
    const element = this.#segments[segment];
    if (!element || token < 0) return null;
    this.#split(element);
    return element.querySelector(`[data-index="${token}"]`);
  }

  #markAgain() {
    const { segment, token, element } = this.#now;
    if (segment < 0 || element?.isConnected) return;
    this.#now.element = this.#wordElement(segment, token);
    this.#now.element?.classList.add("now");
  }

  #listen() {
    const pane = this.#pane;
    pane.addEventListener("wheel", () => this.#stopFollowing(), { passive: true });
    pane.addEventListener("touchmove", () => this.#stopFollowing(), { passive: true });
    pane.addEventListener("pointerdown", (event) => {
      const onScrollbar = event.target === pane && event.offsetX >= pane.clientWidth;
      if (onScrollbar) this.#stopFollowing();
    });
    pane.addEventListener("keydown", (event) => this.#press(event));
    pane.addEventListener("click", (event) => this.#pick(event.target));
    pane.addEventListener("focus", () => this.#offer(this.#now.element ?? this.#wordElement(0, 0)));
  }

  #pick(target) {
    if (!getSelection().isCollapsed) return;
    const from = target.closest(".from");
    const word = target.closest(".word");
    if (!from && !word) return;
    this.#setFollowing(true);
    this.#seek(from ? Number(from.dataset.start) : this.#startOf(word));
  }

  #startOf(word) {
    const tokens = this.#timeline.tokens(Number(word.parentElement.dataset.index));
    return tokens[Number(word.dataset.index)].start;
  }

  #press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const word = event.target.closest(".word");
    if (!word) {
      if (SCROLL_KEYS.has(event.key)) this.#stopFollowing();
      return;
    }
    const turned = getComputedStyle(word).direction === "rtl" ? -1 : 1;
    const steps = { ArrowRight: turned, ArrowLeft: -turned };
    const jumps = { ArrowDown: 1, ArrowUp: -1 };
    if (event.key === "Enter") this.#pick(word);
    else if (event.key === "Escape") this.#pane.focus();
    else if (event.key in steps) this.#focusWord(this.#neighbour(word, steps[event.key]));
    else if (event.key in jumps) this.#focusWord(this.#wordElement(segmentOf(word) + jumps[event.key], 0));
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  #neighbour(word, step) {
    const segment = segmentOf(word);
    const index = Number(word.dataset.index) + step;
    if (index >= 0 && index < this.#timeline.tokens(segment).length) return this.#wordElement(segment, index);
    const other = segment + step;
    if (other < 0 || other >= this.#segments.length) return null;
    return this.#wordElement(other, step > 0 ? 0 : this.#timeline.tokens(other).length - 1);
  }

  #focusWord(word) {
    if (!word) return;
    this.#offer(word);
    this.#setFollowing(false);
    word.focus();
  }

  /** Make one word, and no other, a stop of the Tab key. */
  #offer(word) {
    this.#roving?.removeAttribute("tabindex");
    this.#roving?.removeAttribute("role");
    this.#roving = word;
    word?.setAttribute("tabindex", "0");
    word?.setAttribute("role", "button");
  }
}

function segmentOf(word) {
  return Number(word.parentElement.dataset.index);
}

function isSelected(element) {
  const selection = getSelection();
  return !selection.isCollapsed && selection.containsNode(element, true);
}

/** The order of things on the page: paragraphs `{first, last, letters}` of segments, chapter headings, gaps. */
function layOut(segments, gaps, chapters) {
  const marks = [
    ...chapters.map((chapter) => ({ at: chapter.start, chapter })),
    ...gaps.map((gap) => ({ at: gap.start_seconds, gap })),
  ].sort((a, b) => a.at - b.at);
  const items = [];
  let open = null;
  for (const [index, segment] of segments.entries()) {
    const middle = (segment.start_seconds + segment.end_seconds) / 2;
    while (marks.length && marks[0].at <= middle) {
      items.push(marks.shift());
      open = null;
    }
    const pause = open ? segment.start_seconds - segments[index - 1].end_seconds : 0;
    if (!open || pause > PARAGRAPH_PAUSE || open.letters > PARAGRAPH_LETTERS) {
      items.push((open = { first: index, last: index, letters: 0 }));
    }
    open.last = index;
    open.letters += segment.text.length;
  }
  return [...items, ...marks];
}
