/*
Markdown that is being written: cut into blocks, of which only the last may still change.

Strategy: text becomes elements by way of createElement and text nodes only, so it can never be markup or script. A block
that is whole is never touched again, so a piece costs as much as the block that it belongs to.
*/

import { clone, element } from "./dom.js";

// -- Markdown: text in a line -----------------------------------------------------------------------------------------

const PUNCTUATION = /[\p{P}\p{S}]/u;
const SPACE = /\s/;
const ESCAPABLE = "\\`*_{}#+-.!~|<>\n"; // brackets and parentheses are left: \( and \[ begin formulas
const LINK_TARGET = /\(\s*(?:<([^<>\n]*)>|([^\s()<]*(?:\([^\s()]*\)[^\s()]*)*))(?:\s+(?:"[^"]*"|'[^']*'))?\s*\)/y;
const HALF_A_TARGET = /\([^)\n]*$/y;
const IN_ANGLES = /<(https?:\/\/[^\s<>]+)>/iy;
const BREAK = /<br\s*\/?>/iy;
const ADDRESS = /https?:\/\/[^\s<>"`]+/iy;
const MOST_NESTED = 100;

/** The match of a sticky pattern at *at*, or null. */
function matchAt(pattern, text, at) {
  pattern.lastIndex = at;
  return pattern.exec(text);
}

/** An http(s) address for a link; null for any other. */
export function safeAddress(text) {
  try {
    const url = new URL(text);
    return url.protocol === "http:" || url.protocol === "https:" ? url.href : null;
  } catch {
    return null;
  }
}

function link(address, children) {
  const safe = safeAddress(address);
  if (safe === null) return null;
  const made = element("a", children);
  made.href = safe;
  made.target = "_blank";
  made.rel = "noopener noreferrer";
  return made;
}

/** Nodes, and the emphasis marks that are open around the latest of them. */
class Emphasis {
  #frames = [{ children: [] }];
  #opened = { "*": 0, _: 0, "~": 0 };

  add(node) {
    if (node !== "") this.#frames[this.#frames.length - 1].children.push(node);
  }

  mark(char, count, opens, closes) {
    while (closes && count > 0 && this.#opened[char] > 0) {
      while (this.#top.char !== char) this.#drop();
      const size = Math.min(count, this.#top.count, 2);
      count -= size;
      this.#close(size);
    }
    if (count > 0 && opens && this.#frames.length < MOST_NESTED) {
      this.#frames.push({ char, count, children: [] });
      this.#opened[char] += 1;
    } else {
      this.add(char.repeat(count));
    }
  }

  /** All nodes. Open marks are closed if more text may come; else they are plain text. */
  end(open) {
    while (this.#frames.length > 1) {
      if (open) this.#close(Math.min(this.#top.count, 2), true);
      else this.#drop();
    }
    return this.#frames[0].children;
  }

  get #top() {
    return this.#frames[this.#frames.length - 1];
  }

  #close(size, whole = false) {
    const frame = this.#top;
    const name = frame.char === "~" ? "del" : size === 2 ? "strong" : "em";
    const made = element(name, frame.children);
    frame.count -= size;
    frame.children = [made];
    if (frame.count > 0 && !whole) return;
    this.#frames.pop();
    this.#opened[frame.char] -= 1;
    this.add(made);
  }

  /** Turn the latest mark into text. */
  #drop() {
    const frame = this.#frames.pop();
    this.#opened[frame.char] -= 1;
    const parent = this.#top.children;
    parent.push(frame.char.repeat(frame.count));
    for (const child of frame.children) parent.push(child);
  }
}

/** The index of the "]" of each "[". */
function bracketPairs(text) {
  const pairs = new Map();
  const waiting = [];
  for (let at = 0; at < text.length; at += 1) {
    const char = text[at];
    if (char === "\\") at += 1;
    else if (char === "[") waiting.push(at);
    else if (char === "]" && waiting.length) pairs.set(waiting.pop(), at);
  }
  return pairs;
}

/** A function from a run of backticks to the index of the next run of the same length. */
function backtickFinder(text) {
  const places = new Map();
  for (const run of text.matchAll(/`+/g)) {
    const known = places.get(run[0].length);
    if (known) known.places.push(run.index);
    else places.set(run[0].length, { places: [run.index], next: 0 });
  }
  return (length, after) => {
    const known = places.get(length);
    while (known && known.next < known.places.length && known.places[known.next] < after) known.next += 1;
    return known?.places[known.next] ?? -1;
  };
}

function codeText(text) {
  const line = text.replaceAll("\n", " ");
  return line.length > 2 && line.startsWith(" ") && line.endsWith(" ") && line.trim() ? line.slice(1, -1) : line;
}

/** An address in running text, without the punctuation that follows it. */
function bareAddress(text) {
  let end = text.length;
  let unpaired = 0;
  for (const char of text) unpaired += char === ")" ? 1 : char === "(" ? -1 : 0;
  for (; end > 0; end -= 1) {
    const last = text[end - 1];
    if (last === ")" && unpaired > 0) unpaired -= 1;
    else if (!".,;:!?*_~'\"]".includes(last)) break;
  }
  return text.slice(0, end);
}

/**
 * The nodes of inline text.
 *
 * @param open Whether more text may come: marks at its end are held back, and open ones are rendered as closed.
 */
function inline(text, open, inLink = false) {
  const source = open ? text.replace(/[*_~`[\\<]{1,3}$/, "") : text;
  const emphasis = new Emphasis();
  const nextBackticks = backtickFinder(source);
  const pairs = inLink ? new Map() : bracketPairs(source);
  const special = /\\|`+|\*+|_+|~+|!?\[|<|https?:\/\//gi;
  let at = 0;

  /** The node that begins at *start*, and its end; null for plain text. */
  function nodeAt(start, token) {
    const after = start + token.length;
    if (token === "\\") {
      return after < source.length && ESCAPABLE.includes(source[after]) ? [source[after], after + 1] : null;
    }
    if (token[0] === "`") {
      const end = nextBackticks(token.length, after);
      if (end >= 0) return [element("code", [codeText(source.slice(after, end))]), end + token.length];
      return open && token.length < 3 ? [element("code", [source.slice(after)]), source.length] : null;
    }
    if (token.endsWith("[")) return linkAt(after);
    if (token === "<") {
      if (matchAt(BREAK, source, start)) return [element("br"), BREAK.lastIndex];
      const found = inLink ? null : matchAt(IN_ANGLES, source, start);
      const made = found && link(found[1], [found[1]]);
      return made ? [made, IN_ANGLES.lastIndex] : null;
    }
    if (inLink || /\w/.test(source[start - 1] ?? "")) return null;
    const address = bareAddress(matchAt(ADDRESS, source, start)?.[0] ?? "");
    const made = link(address, [address]);
    return made ? [made, start + address.length] : null;
  }

  function linkAt(after) {
    const end = pairs.get(after - 1);
    if (end === undefined || source[end + 1] !== "(") return null;
    const label = source.slice(after, end);
    const found = matchAt(LINK_TARGET, source, end + 1);
    if (found) {
      const children = inline(label, false, true);
      const made = link(found[1] ?? found[2], children.length ? children : [found[1] ?? found[2]]);
      return made ? [made, LINK_TARGET.lastIndex] : null;
    }
    if (open && matchAt(HALF_A_TARGET, source, end + 1)) {
      return [element("span", inline(label, false, true)), source.length];
    }
    return null;
  }

  function markAt(start, token) {
    const before = source[start - 1] ?? " ";
    const after = source[start + token.length] ?? " ";
    let opens = !SPACE.test(after);
    let closes = !SPACE.test(before);
    if (token[0] === "_") {
      [opens, closes] = [
        opens && (!closes || PUNCTUATION.test(before)),
        closes && (!opens || PUNCTUATION.test(after)),
      ];
    }
    emphasis.mark(token[0], token.length, opens, closes);
  }

  for (let found; (found = special.exec(source)); special.lastIndex = at) {
    const token = found[0];
    emphasis.add(source.slice(at, found.index));
    at = found.index + token.length;
    const isMark = token[0] === "~" ? token.length === 2 : "*_".includes(token[0]) && token.length <= 3;
    if (isMark) {
      markAt(found.index, token);
      continue;
    }
    const taken = "*_~".includes(token[0]) ? null : nodeAt(found.index, token);
    emphasis.add(taken ? taken[0] : token);
    if (taken) at = taken[1];
  }
  emphasis.add(source.slice(at));
  return emphasis.end(open);
}

// -- Markdown: blocks -------------------------------------------------------------------------------------------------

const FENCE = /^([ \t]*)(`{3,}(?=[^`]*$)|~{3,})[ \t]*([^ \t]*)/;
const HEADING = /^ {0,3}(#{1,6})(?:[ \t]+|$)/;
const RULE = /^ {0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$/;
const ITEM = /^([ \t]*)([-*+]|\d{1,9}[.)])([ \t]+|$)/;
const QUOTE = /^ {0,3}> ?/;
const COLUMNS = /^ {0,3}\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$/;
/** The beginning of a line, trimmed, that may still become a block's mark. */
const UNDECIDED = /^(?:#{1,6}|[-*_+|: \t]*|\d{1,9}[.)]?|>|`{1,2}|~{1,2}|`{3,}[^`]*|~{3,}.*)$/;
const DEEPEST = 8;

const isBlank = (line) => line.trim() === "";
const indentOf = (line) => line.match(/^[ \t]*/)[0].replaceAll("\t", "    ").length;
const kindOf = (item) => (/\d/.test(item[2]) ? item[2].at(-1) : item[2]);

function fenceEnd(fence) {
  return new RegExp(`^[ \\t]*${fence[2][0]}{${fence[2].length},}[ \\t]*$`);
}

function isTable(lines, at) {
  return lines[at].includes("|") && at + 1 < lines.length && lines[at + 1].includes("|") && COLUMNS.test(lines[at + 1]);
}

/** Whether a line after a paragraph begins a block. */
function interrupts(lines, at, inList) {
  const line = lines[at];
  if (FENCE.test(line) || HEADING.test(line) || RULE.test(line) || QUOTE.test(line) || isTable(lines, at)) return true;
  const item = ITEM.exec(line);
  if (!item || item[0].length === line.length) return false;
  return inList || !/\d/.test(item[2]) || parseInt(item[2], 10) === 1; // "in\n1998. Then" is no list
}

/** The block that begins at a line that is not blank, and its end. */
function blockAt(lines, at, depth) {
  const line = lines[at];
  const fence = FENCE.exec(line);
  if (fence) return { kind: "code", start: at, ...codeEnd(lines, at, fence), fence };
  if (HEADING.test(line)) return { kind: "heading", start: at, end: at + 1 };
  if (RULE.test(line)) return { kind: "rule", start: at, end: at + 1 };
  if (QUOTE.test(line) && depth < DEEPEST) {
    return { kind: "quote", start: at, end: endWhere(lines, at, (next) => !QUOTE.test(lines[next])) };
  }
  if (ITEM.test(line) && depth < DEEPEST) return { kind: "list", start: at, end: listEnd(lines, at) };
  if (isTable(lines, at)) {
    return { kind: "table", start: at, end: endWhere(lines, at, (next) => !lines[next].includes("|")) };
  }
  const end = endWhere(lines, at, (next) => isBlank(lines[next]) || interrupts(lines, next, false));
  return { kind: "paragraph", start: at, end };
}

function endWhere(lines, at, isOver) {
  let end = at + 1;
  while (end < lines.length && !isOver(end)) end += 1;
  return end;
}

function codeEnd(lines, at, fence) {
  const close = fenceEnd(fence);
  const last = endWhere(lines, at, (next) => close.test(lines[next]));
  return { last, end: Math.min(last + 1, lines.length) };
}

function listEnd(lines, start) {
  const base = indentOf(lines[start]);
  const kind = kindOf(ITEM.exec(lines[start]));
  const belongs = (at) => {
    if (indentOf(lines[at]) > base + 1) return true;
    const item = ITEM.exec(lines[at]);
    return Boolean(item) && kindOf(item) === kind && !RULE.test(lines[at]);
  };
  let at = start + 1;
  while (at < lines.length) {
    if (isBlank(lines[at])) {
      const next = endWhere(lines, at, (line) => !isBlank(lines[line]));
      if (next < lines.length && !belongs(next)) return at;
      at = next;
    } else if (belongs(at) || (!isBlank(lines[at - 1]) && !interrupts(lines, at, true))) {
      at += 1;
    } else {
      return at;
    }
  }
  return lines.length;
}

function codeBlock(language) {
  const made = clone("t-code");
  made.querySelector(".language").textContent = language;
  made.querySelector("pre").setAttribute("aria-label", language ? `Code, ${language}` : "Code");
  return made;
}

const BUILDERS = {
  code(block, lines) {
    const made = codeBlock(block.fence[3]);
    const indent = indentOf(block.fence[1]);
    const code = lines.slice(block.start + 1, block.last).map((line) => withoutIndent(line, indent));
    made.querySelector("code").textContent = code.join("\n") + (code.length && block.last < lines.length ? "\n" : "");
    return made;
  },
  heading(block, lines, depth, open) {
    const [start, marks] = HEADING.exec(lines[block.start]);
    const heading = lines[block.start].slice(start.length).trimEnd();
    const text = /(^|[ \t])#+$/.test(heading) ? heading.slice(0, heading.search(/#+$/)).trimEnd() : heading;
    return element(`h${Math.min(marks.length + 1, 6)}`, inline(text, open));
  },
  rule() {
    return element("hr");
  },
  quote(block, lines, depth, open) {
    const inner = lines.slice(block.start, block.end).map((line) => line.replace(QUOTE, ""));
    return build(inner, element("blockquote"), depth + 1, open);
  },
  list(block, lines, depth, open) {
    const { items, isLoose } = itemsOf(lines.slice(block.start, block.end));
    const number = parseInt(ITEM.exec(lines[block.start])[2], 10);
    const made = element(Number.isNaN(number) ? "ul" : "ol");
    if (number > 1) made.start = number;
    items.forEach((inner, place) => {
      const item = build(inner, element("li"), depth + 1, open && place === items.length - 1);
      for (const paragraph of isLoose ? [] : [...item.querySelectorAll(":scope > p")]) {
        paragraph.replaceWith(...paragraph.childNodes);
      }
      made.append(item);
    });
    return made;
  },
  table(block, lines, depth, open) {
    const rows = lines.slice(block.start, block.end).map(cellsOf);
    const side = (cell) => (!cell.endsWith(":") ? "" : cell.startsWith(":") ? "center" : "right");
    const sides = (rows[1] ?? []).map(side);
    const row = (cells, name, isLast) =>
      element("tr", rows[0].map((_, column) => {
        const isOpen = open && isLast && column >= cells.length - 1;
        return element(name, inline((cells[column] ?? "").replaceAll("\\|", "|"), isOpen), sides[column]);
      }));
    const body = rows.slice(2).map((cells, place) => row(cells, "td", place === rows.length - 3));
    const table = element("table", [element("thead", [row(rows[0], "th", rows.length < 2)]), element("tbody", body)]);
    const made = element("div", [table], "table");
    made.tabIndex = 0;
    return made;
  },
  paragraph(block, lines, depth, open) {
    const inner = lines.slice(block.start, block.end);
    // The head of a table looks like text until the line below it arrives.
    if (open && inner[0].trimStart().startsWith("|") && /^[-|: \t]*$/.test(inner[1] ?? "") && inner.length <= 2) {
      return BUILDERS.table({ start: 0, end: 1 }, inner, depth, open);
    }
    return element("p", inline(inner.map((line) => line.trim()).join("\n"), open));
  },
};

function withoutIndent(line, indent) {
  let at = 0;
  while (at < indent && (line[at] === " " || line[at] === "\t")) at += 1;
  return line.slice(at);
}

/** The lines of each item of a list, without its mark and indent; and whether empty lines are between them. */
function itemsOf(lines) {
  const base = indentOf(lines[0]);
  const kind = kindOf(ITEM.exec(lines[0]));
  const items = [];
  let width = 0;
  let isLoose = false;
  const lastFilled = lines.findLastIndex((line) => !isBlank(line));
  lines.forEach((line, place) => {
    const item = ITEM.exec(line);
    if (item && kindOf(item) === kind && indentOf(line) <= base + 1) {
      const space = item[3].length > 4 ? 1 : item[3].length;
      width = indentOf(line) + item[2].length + Math.max(space, 1);
      items.push([checkbox(line.slice(item[1].length + item[2].length + space))]);
    } else {
      items.at(-1).push(withoutIndent(line, width));
    }
    isLoose ||= isBlank(line) && place < lastFilled;
  });
  return { items, isLoose };
}

function checkbox(text) {
  return text.replace(/^\[([ xX])\] /, (_, mark) => (mark === " " ? "☐ " : "☑ "));
}

function cellsOf(line) {
  const inner = line.trim().replace(/^\|/, "").replace(/(^|[^\\])\|$/, "$1");
  return inner.split(/(?<!\\)\|/).map((cell) => cell.trim());
}

/** Append the blocks of some lines to an element. */
function build(lines, parent, depth, open) {
  for (let at = 0; at < lines.length; ) {
    if (isBlank(lines[at])) {
      at += 1;
      continue;
    }
    const block = blockAt(lines, at, depth);
    parent.append(BUILDERS[block.kind](block, lines, depth, open && block.end >= lines.length));
    at = block.end;
  }
  return parent;
}

/** Markdown that arrives in pieces, rendered into an element. */
export class Markdown {
  #root;
  #tail = ""; // what the last block is made of, and what has not been looked at
  #last = null; // the element of the last block, which may change
  #fence = null; // the block of code that has not ended

  constructor(root) {
    this.#root = root;
  }

  append(text) {
    this.#tail += text.replaceAll("\r\n", "\n");
  }

  /** Render the appended text; *open* if more may come. */
  render(open) {
    while (this.#fence ? this.#code(open) : this.#blocks(open));
  }

  /** Whether a code block begins after the rendered blocks. */
  #blocks(open) {
    const all = this.#tail.split("\n");
    const lines = open && UNDECIDED.test(all.at(-1).trim()) ? all.slice(0, -1) : all;
    let at = 0;
    let shown = null;
    while (at < lines.length) {
      if (isBlank(lines[at])) {
        at += 1;
        continue;
      }
      const block = blockAt(lines, at, 0);
      if (block.kind === "code" && block.last >= lines.length) {
        this.#replaceLast(null);
        this.#begin(block.fence, all.slice(at + 1).join("\n"));
        return true;
      }
      const isOpen = open && block.end >= lines.length;
      shown = BUILDERS[block.kind](block, lines, 0, isOpen);
      this.#replaceLast(shown);
      if (block.end >= lines.length) break; // more lines may belong to it
      this.#last = null;
      shown = null;
      at = block.end;
    }
    if (shown === null) this.#replaceLast(null);
    if (at > 0) this.#tail = all.slice(at).join("\n");
    return false;
  }

  #replaceLast(node) {
    if (this.#last && node) this.#last.replaceWith(node);
    else if (node) this.#root.append(node);
    else this.#last?.remove();
    this.#last = node;
  }

  #begin(fence, rest) {
    const block = codeBlock(fence[3]);
    this.#root.append(block);
    const text = document.createTextNode("");
    block.querySelector("code").append(text);
    const maybe = new RegExp(`^[ \\t]*${fence[2][0]}*[ \\t]*$`);
    this.#fence = { text, end: fenceEnd(fence), maybe, indent: indentOf(fence[1]), inLine: false };
    this.#tail = rest;
  }

  /** Append the text to the code block; returns whether the block has ended. */
  #code(open) {
    const fence = this.#fence;
    const buffer = this.#tail;
    let at = 0;
    let added = "";
    let hasEnded = false;
    while (at < buffer.length && !hasEnded) {
      const end = buffer.indexOf("\n", at);
      const line = end < 0 ? buffer.slice(at) : buffer.slice(at, end);
      if (end < 0 && open && !fence.inLine && fence.maybe.test(line)) break;
      hasEnded = !fence.inLine && fence.end.test(line.trimEnd()) && (end >= 0 || !open);
      if (!hasEnded) {
        added += (fence.inLine ? line : withoutIndent(line, fence.indent)) + (end < 0 ? "" : "\n");
        fence.inLine = end < 0;
      }
      at = end < 0 ? buffer.length : end + 1;
    }
    fence.text.appendData(added);
    this.#tail = buffer.slice(at);
    if (hasEnded) this.#fence = null;
    return hasEnded;
  }
}
