/** Finds what is being said at a time, in a transcript of any length. Times are seconds. */
export class Timeline {
  #starts;
  #tokens = new Map();

  constructor(segments) {
    this.segments = segments;
    this.#starts = Float64Array.from(segments, (segment) => segment.start_seconds);
  }

  /** Index of the last segment that has begun at `time`; -1 before the first. */
  segmentAt(time) {
    return lastAtOrBefore(this.#starts.length, (i) => this.#starts[i], time);
  }

  /** Words of a segment as they are shown: `{text, gap, start, end}`, `gap` being the space before. */
  tokens(index) {
    let tokens = this.#tokens.get(index);
    if (!tokens) this.#tokens.set(index, (tokens = timeTokens(this.segments[index])));
    return tokens;
  }

  /** Index of the last word of a segment that has begun at `time`; -1 before the first. */
  tokenAt(index, time) {
    const tokens = this.tokens(index);
    return lastAtOrBefore(tokens.length, (i) => tokens[i].start, time);
  }
}

/** Index of the last of `count` ascending values that is not above `limit`; -1 if all are. */
export function lastAtOrBefore(count, valueAt, limit) {
  let [low, high] = [0, count];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (valueAt(middle) <= limit) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

/** Give each shown word a time: that of the same spoken word, or its share of the time between its neighbours. */
function timeTokens(segment) {
  const words = segment.words ?? [];
  const tokens = splitText(segment.text, words);
  const paired = tokens.length === words.length;
  let next = 0;
  for (const [index, token] of tokens.entries()) {
    const found = paired ? index : findWord(words, next, token.text);
    if (found < 0) continue;
    token.start = words[found].start_seconds;
    token.end = words[found].end_seconds;
    next = found + 1;
  }
  spreadUntimed(tokens, segment.start_seconds, segment.end_seconds);
  return tokens;
}

function splitText(text, words) {
  const trimmed = text.trim();
  if (/\s/.test(trimmed) || (words.length < 2 && !("Segmenter" in Intl))) {
    return trimmed.split(/\s+/).map((word, index) => ({ text: word, gap: index ? " " : "" }));
  }
  if (words.length > 1) return words.map((word) => ({ text: word.text, gap: "" }));
  const pieces = new Intl.Segmenter(undefined, { granularity: "word" }).segment(trimmed);
  return Array.from(pieces, (piece) => ({ text: piece.segment, gap: "" }));
}

const LOOK_AHEAD = 6;

function findWord(words, from, text) {
  const wanted = bare(text);
  for (let i = from; i < Math.min(from + LOOK_AHEAD, words.length); i += 1) {
    if (bare(words[i].text) === wanted) return i;
  }
  return -1;
}

function bare(text) {
  return text.toLowerCase().replace(/[^\p{L}\p{N}]/gu, "");
}

function spreadUntimed(tokens, start, end) {
  let first = 0;
  while (first < tokens.length) {
    if (tokens[first].start !== undefined) {
      first += 1;
      continue;
    }
    let after = first;
    while (after < tokens.length && tokens[after].start === undefined) after += 1;
    const from = first ? tokens[first - 1].end : start;
    const until = Math.max(from, after < tokens.length ? tokens[after].start : end);
    const run = tokens.slice(first, after);
    const letters = run.reduce((sum, token) => sum + token.text.length + 1, 0);
    let at = from;
    for (const token of run) {
      token.start = at;
      at += ((until - from) * (token.text.length + 1)) / letters;
      token.end = at;
    }
    first = after;
  }
}
