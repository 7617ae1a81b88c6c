/* Parse the server-sent events of a response. */

/**
 * Splits text that arrives in pieces into the data of server-sent events.
 *
 * Lines end in CR, LF or both, also where a piece ends between the two. Comments, and fields other than data, are
 * ignored; text without an empty line after it is not an event.
 *
 * Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
 */
export class EventData {
  #line = []; // pieces of the line that has not ended
  #data = [];
  #afterReturn = false;

  /** The data of the events that end in *text*. */
  feed(text) {
    const found = [];
    let at = 0;
    if (this.#afterReturn && text) {
      at = text[0] === "\n" ? 1 : 0;
      this.#afterReturn = false;
    }
    const ends = /\r\n|\r|\n/g;
    ends.lastIndex = at;
    for (let end; (end = ends.exec(text)); at = ends.lastIndex) {
      this.#line.push(text.slice(at, end.index));
      this.#take(this.#line.join(""), found);
      this.#line = [];
      this.#afterReturn = end[0] === "\r" && ends.lastIndex === text.length;
    }
    if (at < text.length) this.#line.push(text.slice(at));
    return found;
  }

  #take(line, found) {
    if (line === "") {
      if (this.#data.length) found.push(this.#data.join("\n"));
      this.#data = [];
    } else if (line === "data") {
      this.#data.push("");
    } else if (line.startsWith("data:")) {
      this.#data.push(line.slice(line[5] === " " ? 6 : 5));
    }
  }
}

/** The data of the last event of a complete answer. */
export const DONE = "[DONE]";

/** The data of the events in a body of bytes, as they come. */
export async function* eventsOf(body) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  const events = new EventData();
  let isWhole = false;
  try {
    for (let piece; !(piece = await reader.read()).done; ) {
      for (const data of events.feed(decoder.decode(piece.value, { stream: true }))) {
        isWhole ||= data === DONE;
        yield data;
      }
    }
  } finally {
    if (isWhole) drain(reader);
    else reader.cancel().catch(() => {});
  }
}

/** Read the rest, so that the server does not record a client that left. */
async function drain(reader) {
  try {
    while (!(await reader.read()).done);
  } catch {
    // the answer is complete
  }
}
