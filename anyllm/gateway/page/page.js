/*
The chat page of the gateway: asks /v1/chat/completions as clients of OpenAI's do, and shows the answer as it comes.

Strategy: the text since the last frame is rendered once per frame. A request continues while another conversation is
open: its answer keeps its own elements, which are shown again with its conversation.
*/

import { $, clone, element } from "./dom.js";
import { DONE, eventsOf } from "./events.js";
import { Markdown } from "./markdown.js";

// -- storage ----------------------------------------------------------------------------------------------------------

const CONVERSATION = "anyllm.conversation.";

/** The browser's storage; values that it rejects are kept in memory. */
class Store {
  #memory = new Map();
  #hasWarned = false;

  get(name, where = "localStorage") {
    try {
      return this.#memory.get(name) ?? window[where].getItem(name);
    } catch {
      return this.#memory.get(name) ?? null;
    }
  }

  set(name, value, where = "localStorage") {
    try {
      window[where].setItem(name, value);
      this.#memory.delete(name);
    } catch (error) {
      this.#memory.set(name, value);
      this.#warn(error);
    }
  }

  remove(name, where = "localStorage") {
    this.#memory.delete(name);
    try {
      window[where].removeItem(name);
    } catch {
      // it was not stored
    }
  }

  names() {
    const found = new Set(this.#memory.keys());
    try {
      for (const name of Object.keys(window.localStorage)) found.add(name);
    } catch {
      // only memory is left
    }
    return [...found];
  }

  json(name) {
    try {
      return JSON.parse(this.get(name) ?? "null");
    } catch {
      return null; // not written by this page
    }
  }

  #warn(error) {
    if (this.#hasWarned) return;
    this.#hasWarned = true;
    const isFull = error?.name === "QuotaExceededError";
    const why = isFull ? "This browser has no more room for conversations" : "This browser keeps nothing for this page";
    notify(`${why}: what is new is lost when the page is closed.`);
  }
}

const store = new Store();
const settings = { model: "", system: "", temperature: "", theme: "", ...store.json("anyllm.settings") };

function saveSettings() {
  store.set("anyllm.settings", JSON.stringify(settings));
}

function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(12)); // randomUUID needs https
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function readConversation(name) {
  const read = store.json(name);
  if (!Array.isArray(read?.messages)) return null;
  for (const message of read.messages) {
    if (message.state === "running") message.state = "cut"; // the page was closed before the end
  }
  return { ...read, id: name.slice(CONVERSATION.length) };
}

function save(conversation) {
  if (!conversations.has(conversation.id)) return;
  const { id, ...stored } = conversation;
  store.set(CONVERSATION + id, JSON.stringify(stored));
}

// -- notices ----------------------------------------------------------------------------------------------------------

function say(text) {
  $("status").textContent = text;
}

let noticeAction = null;

function notify(text, label = "", action = null) {
  $("notice-text").textContent = text;
  $("notice-action").textContent = label;
  $("notice-action").hidden = !action;
  noticeAction = action;
  $("notice").hidden = false;
}

/** Hide an element, and move its focus to the input. */
function hide(node) {
  const hadFocus = node.contains(document.activeElement);
  node.hidden = true;
  if (hadFocus) $("input").focus();
}

async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    copyByHand(text, button); // there is no clipboard without https, or it is forbidden
  }
  say("Copied");
  button.classList.add("done");
  const label = button.classList.contains("copy-code") ? button.textContent : null;
  if (label !== null) button.textContent = "Copied";
  setTimeout(() => {
    button.classList.remove("done");
    if (label !== null) button.textContent = "Copy";
  }, 1500);
}

function copyByHand(text, button) {
  const field = element("textarea", [], "unseen");
  field.value = text;
  button.after(field);
  field.select();
  document.execCommand("copy");
  field.remove();
  button.focus();
}

/** Indented JSON, with numbers as they were written; null for text that is not JSON. */
export function pretty(text) {
  try {
    JSON.parse(text);
  } catch {
    return null;
  }
  let depth = 0;
  const line = () => `\n${"  ".repeat(depth)}`;
  return text.replace(/"(?:[^"\\]|\\.)*"|[[{]\s*[\]}]|[[{]|[\]}]|,|:|\s+/g, (token) => {
    if (token[0] === '"') return token;
    if (/^\s+$/.test(token)) return "";
    if (token.length > 1) return token[0] + token.at(-1);
    if (token === ",") return `,${line()}`;
    if (token === ":") return ": ";
    depth += "[{".includes(token) ? 1 : -1;
    return "[{".includes(token) ? token + line() : line() + token;
  });
}

function seconds(milliseconds) {
  const value = milliseconds / 1000;
  return value < 10 ? `${value.toFixed(value < 1 ? 2 : 1)} s` : `${Math.round(value)} s`;
}

function dollars(value) {
  const digits = value < 0.1 ? { maximumSignificantDigits: 2 } : { maximumFractionDigits: 2 };
  return new Intl.NumberFormat("en", { style: "currency", currency: "USD", ...digits }).format(value);
}

/** The metrics of an answer, in a line. */
export function figures(message) {
  const { usage, first, took } = message;
  const parts = [];
  const [read, written] = [usage?.prompt_tokens, usage?.completion_tokens];
  const thought = usage?.completion_tokens_details?.reasoning_tokens;
  const cached = usage?.prompt_tokens_details?.cached_tokens;
  const count = (number) => number.toLocaleString("en");
  const ofThem = (number, what) => (number ? ` (${count(number)} ${what})` : "");
  if (read !== undefined) parts.push(`${count(read)} in${ofThem(cached, "cached")}`);
  if (written !== undefined) {
    parts.push(`${count(written)} out${ofThem(thought, "reasoning")}`);
    const rate = took > 0 ? written / (took / 1000) : 0;
    if (rate > 0) parts.push(`${rate < 10 ? rate.toFixed(1) : count(Math.round(rate))} tokens/s`);
  }
  if (first !== undefined) parts.push(`first after ${seconds(first)}`);
  if (typeof usage?.cost === "number") parts.push(dollars(usage.cost));
  if (message.dropped) parts.push(`without ${message.dropped}`);
  return parts.join(" · ");
}

// -- one answer -------------------------------------------------------------------------------------------------------

const ENDS = { length: "The answer was cut at its limit of tokens.", content_filter: "A filter withheld the rest." };

function outcomeOf(message) {
  if (message.state === "stopped") return "Stopped";
  if (message.state === "cut") return "Cut: the answer ended before it was whole.";
  if (message.state === "error") return message.error;
  if (message.finish in ENDS) return ENDS[message.finish];
  return message.content || message.calls.length ? "" : "The answer is empty.";
}

/** An answer on the page. Chunks are added at once, and rendered at the next frame. */
class AnswerView {
  constructor(message) {
    this.message = message;
    this.root = clone("t-answer");
    this.part = (name) => this.root.querySelector(`.${name}`);
    this.text = new Markdown(this.part("text"));
    this.thoughts = new Markdown(this.part("thoughts"));
    this.calls = [];
    this.frame = 0;
    this.part("who").textContent = message.model;
    this.root.setAttribute("aria-label", message.model);
    this.text.append(message.content);
    this.thoughts.append(message.reasoning);
    this.show();
  }

  get isRunning() {
    return this.message.state === "running";
  }

  write(text) {
    this.message.content += text;
    this.text.append(text);
    this.later();
  }

  think(text) {
    this.message.reasoning += text;
    this.thoughts.append(text);
    this.later();
  }

  later() {
    this.frame ||= requestAnimationFrame(() => {
      this.show();
      follow();
    });
  }

  show() {
    cancelAnimationFrame(this.frame);
    this.frame = 0;
    const { message, isRunning } = this;
    const isThinking = isRunning && message.thoughtFor === undefined;
    this.text.render(isRunning);
    this.thoughts.render(isThinking);
    this.part("reasoning").hidden = !message.reasoning;
    const thought = message.thoughtFor >= 100 ? seconds(message.thoughtFor) : "a moment";
    setText(this.part("reasoning").firstElementChild, isThinking ? "Thinking…" : `Thought for ${thought}`);
    this.part("waiting").hidden = !isRunning || Boolean(message.content);
    message.calls.forEach((call, place) => this.showCall(call, place));
    setText(this.part("figures"), figures(message));
    this.part("copy").hidden = !message.content;
    this.root.dataset.state = message.state;
    this.root.setAttribute("aria-busy", String(isRunning));
    const outcome = isRunning ? "" : outcomeOf(message);
    setText(this.part("outcome-text"), outcome);
    this.part("outcome").hidden = !outcome;
    this.part("outcome").classList.toggle("bad", message.state === "error" || message.state === "cut");
  }

  showCall(call, place) {
    if (!this.calls[place]) {
      const made = clone("t-call");
      this.part("calls").append(made);
      this.calls[place] = { name: made.querySelector(".name"), text: made.querySelector(".arguments"), length: 0 };
    }
    const view = this.calls[place];
    setText(view.name, call.name);
    const isWhole = !this.isRunning || place < this.message.calls.length - 1 || this.message.finish;
    if (isWhole) setText(view.text, pretty(call.arguments) ?? call.arguments);
    else if (call.arguments.length > view.length) view.text.append(call.arguments.slice(view.length));
    view.length = call.arguments.length;
  }
}

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function userView(message) {
  const made = clone("t-user");
  made.querySelector(".bubble").textContent = message.content;
  return made;
}

// -- requests ---------------------------------------------------------------------------------------------------------

class Failure extends Error {
  constructor(text, status = 0) {
    super(text);
    this.status = status;
  }
}

let key = store.get("anyllm.key", "sessionStorage") ?? store.get("anyllm.key") ?? "";

function headers() {
  return key ? { Authorization: `Bearer ${key}` } : {};
}

/** fetch from the gateway; throws a Failure if the status is not a success. */
async function call(path, init = {}) {
  let response;
  try {
    response = await fetch(path, { ...init, headers: { ...headers(), ...init.headers }, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure("The gateway cannot be reached.");
  }
  if (response.ok) return response;
  const body = await response.json().catch(() => null);
  const wait = response.headers.get("Retry-After");
  const text = textOf(body?.error) || `The gateway answered with status ${response.status}.`;
  throw new Failure(wait ? `${text} (to be tried again in ${wait} s)` : text, response.status);
}

function textOf(error) {
  return typeof error === "string" ? error : typeof error?.message === "string" ? error.message : "";
}

/** Running requests, by their conversation's id. */
const runs = new Map();

/** One request for an answer. */
class Run {
  #abort = new AbortController();
  #since = performance.now();
  #first; // when it began to answer, to think, and when the latest of it came
  #thinkingSince;
  #latest;
  #hasThoughtAloud = false;

  constructor(conversation) {
    this.conversation = conversation;
    this.message = {
      role: "assistant", content: "", reasoning: "", calls: [], state: "running", model: settings.model,
    };
    this.view = new AnswerView(this.message);
    conversation.messages.push(this.message);
    runs.set(conversation.id, this);
  }

  stop() {
    this.#abort.abort();
  }

  async go() {
    const { message } = this;
    say(`Asking ${message.model}`);
    let failure = null;
    try {
      message.state = (await this.#stream()) ? "done" : "cut";
    } catch (error) {
      failure = error;
      message.state = this.#abort.signal.aborted ? "stopped" : error instanceof Failure ? "error" : "cut";
      if (message.state === "error") message.error = error.message;
      if (message.state === "cut") console.warn("the answer was cut:", error);
    }
    this.#thinks(false);
    if (this.#latest > this.#first) message.took = this.#latest - this.#first;
    runs.delete(this.conversation.id);
    this.conversation.at = Date.now();
    save(this.conversation);
    this.view.show();
    follow();
    showRunning();
    showConversations();
    say(message.state === "done" ? "The answer is complete" : outcomeOf(message));
    if (failure?.status === 401) askForKey(this.conversation);
  }

  /** Read the answer; returns whether it is complete. */
  async #stream() {
    const { signal } = this.#abort;
    const body = JSON.stringify(this.#body());
    const init = { method: "POST", headers: { "Content-Type": "application/json" }, body, signal };
    const response = await call("v1/chat/completions", init);
    this.message.dropped = response.headers.get("x-anyllm-dropped") ?? undefined;
    if (!response.headers.get("Content-Type")?.startsWith("text/event-stream")) {
      throw new Failure("The gateway did not answer with a stream.");
    }
    for await (const data of eventsOf(response.body)) {
      if (data === DONE) return true;
      if (data) this.#event(data);
    }
    signal.throwIfAborted();
    return false;
  }

  #body() {
    const messages = this.conversation.messages
      .filter((message) => message.content)
      .map(({ role, content }) => ({ role, content }));
    if (settings.system.trim()) messages.unshift({ role: "system", content: settings.system });
    const body = { model: this.message.model, messages, stream: true, stream_options: { include_usage: true } };
    return settings.temperature === "" ? body : { ...body, temperature: Number(settings.temperature) };
  }

  #event(data) {
    let event;
    try {
      event = JSON.parse(data);
    } catch {
      throw new Failure("The gateway sent an event that cannot be read.");
    }
    if (event?.error) throw new Failure(textOf(event.error) || "The answer ended with an error.");
    if (event?.usage) this.message.usage = event.usage;
    const choice = event?.choices?.find((one) => (one.index ?? 0) === 0);
    if (choice?.delta) this.#delta(choice.delta);
    if (choice?.finish_reason) this.message.finish = choice.finish_reason;
    this.view.later();
  }

  #delta(delta) {
    const thought = this.#thoughtIn(delta);
    const text = (delta.content || "") + (delta.refusal || "");
    const calls = delta.tool_calls ?? [];
    if (!thought && !text && !calls.length) return;
    this.#latest = performance.now();
    if (this.#first === undefined) {
      this.#first = this.#latest;
      this.message.first = this.#first - this.#since;
      say("The answer is coming");
    }
    if (thought) {
      this.#thinks(true);
      this.view.think(thought);
    }
    if (text) {
      this.#thinks(false);
      this.view.write(text);
    }
    for (const part of calls) this.#call(part);
  }

  /** Reasoning, under the names of various providers; `reasoning_details` repeats the text of another field. */
  #thoughtIn(delta) {
    const names = ["reasoning_content", "reasoning", "thinking", "thought"];
    const text = names.map((name) => delta[name]).find((value) => typeof value === "string" && value);
    if (text) this.#hasThoughtAloud = true;
    if (text || this.#hasThoughtAloud || !Array.isArray(delta.reasoning_details)) return text ?? "";
    const parts = delta.reasoning_details.map((detail) => detail?.text ?? detail?.summary ?? detail?.thinking);
    return parts.filter((part) => typeof part === "string").join("");
  }

  #thinks(does) {
    const { message } = this;
    if (does) {
      this.#thinkingSince ??= performance.now();
      message.thoughtFor = undefined;
    } else if (this.#thinkingSince !== undefined && message.thoughtFor === undefined) {
      message.thoughtFor = performance.now() - this.#thinkingSince;
    }
  }

  #call(part) {
    this.#thinks(false);
    const { calls } = this.message;
    const index = part.index ?? 0;
    let call = calls.find((one) => one.index === index);
    if (!call) calls.push((call = { index, name: "", arguments: "" }));
    const fields = part.function ?? part.custom ?? {};
    call.name ||= fields.name ?? "";
    call.arguments += fields.arguments ?? fields.input ?? "";
  }
}

function begin(conversation) {
  if (runs.has(conversation.id)) return;
  if (!settings.model) {
    notify("Choose a model first.");
    $("model").focus();
    return;
  }
  const run = new Run(conversation);
  conversation.at = Date.now();
  save(conversation);
  showConversations();
  if (conversation === current) {
    $("messages").append(run.view.root);
    showRunning();
    toBottom();
  }
  run.go();
}

/** Request the last answer again. */
function again(conversation) {
  if (runs.has(conversation.id)) return;
  if (conversation.messages.at(-1)?.role === "assistant") {
    conversation.messages.pop();
    $("messages").lastElementChild.remove();
  }
  $("input").focus();
  begin(conversation);
}

// -- conversations ----------------------------------------------------------------------------------------------------

const conversations = new Map();
let current = null;
let isEditing = false;

function loadConversations() {
  for (const name of store.names()) {
    const read = name.startsWith(CONVERSATION) ? readConversation(name) : null;
    if (read) conversations.set(read.id, read);
  }
}

function byTime() {
  return [...conversations.values()].sort((one, other) => other.at - one.at);
}

function openConversation(conversation) {
  current = conversation ?? { id: newId(), title: "", at: 0, messages: [] };
  stopEditing();
  store.set("anyllm.open", current.id, "sessionStorage");
  const run = runs.get(current.id);
  const nodes = current.messages.map((message) => {
    if (message.role === "user") return userView(message);
    return run?.message === message ? run.view.root : new AnswerView(message).root;
  });
  $("messages").replaceChildren(...nodes);
  showConversations();
  showRunning();
  toBottom();
}

function showRunning() {
  const isRunning = runs.has(current.id);
  $("main").dataset.running = String(isRunning);
  $("welcome").hidden = current.messages.length > 0;
  const [visible, hidden] = isRunning ? [$("stop"), $("send")] : [$("send"), $("stop")];
  visible.hidden = false;
  hide(hidden);
  document.title = current.title ? `${current.title} – anyllm` : "anyllm";
}

/** Update the list; items stay the same elements, so that none loses the focus. */
function showConversations() {
  const list = $("conversations");
  const items = new Map([...list.children].map((item) => [item.dataset.id, item]));
  const focused = document.activeElement;
  const ordered = byTime();
  ordered.forEach((conversation, place) => {
    const item = items.get(conversation.id) ?? itemFor(conversation);
    items.delete(conversation.id);
    const title = conversation.title || "New conversation";
    setText(item.querySelector(".title"), title);
    item.querySelector(".rename").setAttribute("aria-label", `Rename ${title}`);
    item.querySelector(".delete").setAttribute("aria-label", `Delete ${title}`);
    item.classList.toggle("running", runs.has(conversation.id));
    if (conversation.id === current.id) item.querySelector(".open").setAttribute("aria-current", "page");
    else item.querySelector(".open").removeAttribute("aria-current");
    if (list.children[place] !== item) list.insertBefore(item, list.children[place] ?? null);
  });
  for (const item of items.values()) item.remove();
  if (focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
}

function itemFor(conversation) {
  const item = clone("t-conversation");
  item.dataset.id = conversation.id;
  return item;
}

function rename(item) {
  const conversation = conversations.get(item.dataset.id);
  const button = item.querySelector(".open");
  const field = element("input", [], "renaming");
  field.value = conversation.title;
  field.setAttribute("aria-label", "Name of the conversation");
  button.hidden = true;
  button.after(field);
  field.select();
  let isOver = false;
  const end = (isMeant, keepsFocus) => {
    if (isOver) return;
    isOver = true;
    if (isMeant && field.value.trim()) {
      conversation.title = field.value.trim();
      save(conversation);
    }
    field.remove();
    button.hidden = false;
    if (keepsFocus) button.focus();
    showConversations();
    showRunning();
  };
  field.addEventListener("keydown", (event) => {
    if (event.isComposing || (event.key !== "Enter" && event.key !== "Escape")) return;
    event.stopPropagation();
    event.preventDefault();
    end(event.key === "Enter", true);
  });
  field.addEventListener("blur", () => end(true, false));
}

function remove(item) {
  const conversation = conversations.get(item.dataset.id);
  const next = item.nextElementSibling ?? item.previousElementSibling;
  runs.get(conversation.id)?.stop();
  conversations.delete(conversation.id);
  store.remove(CONVERSATION + conversation.id);
  if (conversation === current) openConversation(null);
  else showConversations();
  (next?.querySelector(".open") ?? $("new")).focus();
  notify(`“${conversation.title}” was deleted.`, "Undo", () => {
    conversations.set(conversation.id, conversation);
    save(conversation);
    openConversation(conversation);
  });
}

// -- the input --------------------------------------------------------------------------------------------------------

function send() {
  const text = $("input").value.trim();
  if (!text || runs.has(current.id)) return;
  if (isEditing) dropLastExchange();
  stopEditing();
  current.title ||= text.replace(/\s+/g, " ").slice(0, 60);
  conversations.set(current.id, current);
  const message = { role: "user", content: text };
  current.messages.push(message);
  $("messages").append(userView(message));
  $("input").value = "";
  fit();
  begin(current);
  save(current);
  showConversations();
  showRunning();
}

function dropLastExchange() {
  const last = current.messages.findLastIndex((message) => message.role === "user");
  if (last < 0) return;
  current.messages.length = last;
  while ($("messages").children.length > last) $("messages").lastElementChild.remove();
}

function edit() {
  const message = current.messages.findLast((one) => one.role === "user");
  if (!message || runs.has(current.id)) return;
  isEditing = true;
  $("editing").hidden = false;
  $("input").value = message.content;
  fit();
  $("input").focus();
}

function stopEditing() {
  if (isEditing) $("input").value = "";
  isEditing = false;
  hide($("editing"));
  fit();
}

/** Fit the height of the input to its text. */
function fit() {
  const field = $("input");
  field.style.height = "auto";
  field.style.height = `${field.scrollHeight}px`;
}

// -- scrolling --------------------------------------------------------------------------------------------------------

let isAtBottom = true;

function follow() {
  if (isAtBottom) $("scroll").scrollTop = $("scroll").scrollHeight;
  else showWhetherAtBottom();
}

function toBottom() {
  isAtBottom = true;
  follow();
  hide($("to-bottom"));
}

function showWhetherAtBottom() {
  const { scrollHeight, scrollTop, clientHeight } = $("scroll");
  isAtBottom = scrollHeight - scrollTop - clientHeight < 48;
  if (isAtBottom) hide($("to-bottom"));
  else $("to-bottom").hidden = false;
}

// -- models -----------------------------------------------------------------------------------------------------------

const MOST_SHOWN = 200;
const models = { listed: [], problem: "", isLoading: false, active: -1, options: [] };

async function loadModels() {
  models.isLoading = true;
  models.problem = "";
  try {
    const body = await (await call("v1/models")).json();
    models.listed = (body.data ?? []).filter((model) => typeof model?.id === "string");
    if (!settings.model && models.listed.length) chooseModel(models.listed[0].id);
    $("key-form").hidden || hide($("key-form"));
    return true;
  } catch (error) {
    models.problem = error.message;
    if (error.status === 401) askForKey();
    return false;
  } finally {
    models.isLoading = false;
    if (isListOpen()) showModels();
  }
}

function isListOpen() {
  return !$("models").hidden;
}

function chooseModel(name) {
  settings.model = name;
  saveSettings();
  $("model").value = name;
}

function openModels() {
  if (isListOpen()) return;
  models.hasTyped = false;
  $("models").hidden = false;
  $("model").setAttribute("aria-expanded", "true");
  showModels();
}

function closeModels() {
  $("models").hidden = true;
  $("model").setAttribute("aria-expanded", "false");
  $("model").removeAttribute("aria-activedescendant");
  $("model").value = settings.model;
}

/** The models whose names contain every typed word, by provider. */
function matching() {
  const words = models.hasTyped ? $("model").value.toLowerCase().split(/\s+/).filter(Boolean) : [];
  const fits = ({ id, owned_by: provider }) => words.every((word) => `${provider} ${id}`.toLowerCase().includes(word));
  return models.listed.filter(fits);
}

function showModels() {
  const found = matching();
  const typed = models.hasTyped ? $("model").value.trim() : "";
  const groups = new Map();
  for (const model of found.slice(0, MOST_SHOWN)) {
    const provider = model.owned_by || "others";
    groups.set(provider, [...(groups.get(provider) ?? []), model.id]);
  }
  models.options = [];
  const nodes = [...groups].map(([provider, ids], place) => {
    const label = element("div", [provider], "provider");
    label.id = `provider-${place}`;
    const group = element("div", [label, ...ids.map((id) => option(id, id))]);
    group.setAttribute("role", "group");
    group.setAttribute("aria-labelledby", label.id);
    return group;
  });
  if (typed && !models.listed.some((model) => model.id === typed)) nodes.push(option(typed, `Use “${typed}”`));
  const hint = modelsHint(found.length);
  if (hint) {
    const line = element("div", [hint], "list-hint");
    line.setAttribute("role", "presentation");
    nodes.push(line);
  }
  $("models").replaceChildren(...nodes);
  const isOther = typed !== "" && !models.listed.some((model) => model.id === typed);
  const match = models.options.findIndex((node) => node.dataset.model === (typed || settings.model));
  activate(isOther ? 0 : match); // the first match, else the typed name
}

function modelsHint(count) {
  if (models.isLoading) return "Asking which models there are…";
  if (models.problem) return `The models cannot be listed: ${models.problem} A name can be typed.`;
  if (count > MOST_SHOWN) return `${count - MOST_SHOWN} more: type to search.`;
  return models.options.length ? "" : "No models are listed. A name can be typed.";
}

function option(name, label) {
  const made = element("div", [label], "option");
  made.id = `option-${models.options.length}`;
  made.dataset.model = name;
  made.setAttribute("role", "option");
  made.setAttribute("aria-selected", String(name === settings.model));
  models.options.push(made);
  return made;
}

function activate(place) {
  models.options[models.active]?.classList.remove("active");
  models.active = models.options.length ? Math.max(-1, Math.min(place, models.options.length - 1)) : -1;
  const node = models.options[models.active];
  if (!node) {
    $("model").removeAttribute("aria-activedescendant");
    return;
  }
  node.classList.add("active");
  node.scrollIntoView({ block: "nearest" });
  $("model").setAttribute("aria-activedescendant", node.id);
}

function modelKey(event) {
  if (event.isComposing) return;
  const step = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10 }[event.key];
  if (step !== undefined) {
    event.preventDefault();
    if (!isListOpen()) openModels();
    else activate(Math.max(0, models.active + step));
  } else if (event.key === "Enter") {
    event.preventDefault();
    const chosen = isListOpen() ? models.options[models.active] : null;
    if (chosen) chooseModel(chosen.dataset.model);
    closeModels();
    $("input").focus();
  } else if (event.key === "Escape" && isListOpen()) {
    event.stopPropagation();
    closeModels();
  }
}

// -- the key ----------------------------------------------------------------------------------------------------------

let waitsForKey = null; // the conversation whose last answer failed for want of one

/** A 401 may come from the provider, not the gateway: the gateway's list of models answers which. */
async function askForKey(conversation = null) {
  if (conversation) {
    waitsForKey = conversation;
    if (await loadModels()) waitsForKey = null;
    return;
  }
  $("key-problem").textContent = key ? "The key is not accepted." : "";
  $("key-problem").hidden = !key;
  $("key-form").hidden = false;
  $("key").focus();
}

async function useKey() {
  const typed = $("key").value.trim();
  const isPlain = /^[\x21-\x7e]+$/.test(typed); // as a header can hold it
  if (!isPlain) {
    $("key-problem").textContent = "A key has only letters, digits and signs.";
    $("key-problem").hidden = false;
    return;
  }
  key = typed;
  if (!(await loadModels())) return;
  store.remove("anyllm.key");
  store.remove("anyllm.key", "sessionStorage");
  store.set("anyllm.key", key, $("remember").checked ? "localStorage" : "sessionStorage");
  $("key").value = "";
  const conversation = waitsForKey;
  waitsForKey = null;
  if (conversation && conversation === current) again(conversation);
}

function forgetKey() {
  key = "";
  store.remove("anyllm.key");
  store.remove("anyllm.key", "sessionStorage");
  showSettings();
  say("The key is forgotten");
}

// -- settings ---------------------------------------------------------------------------------------------------------

function showSettings() {
  $("system").value = settings.system;
  $("temperature").value = settings.temperature;
  for (const choice of document.getElementsByName("theme")) choice.checked = choice.value === settings.theme;
  $("key-kept").hidden = !key;
  const where = store.get("anyllm.key") ? "in this browser" : "until this tab is closed";
  $("key-where").textContent = `A key is kept ${where}.`;
}

function applyTheme() {
  if (settings.theme) document.documentElement.dataset.theme = settings.theme;
  else delete document.documentElement.dataset.theme;
}

function changeSettings() {
  settings.system = $("system").value;
  if ($("temperature").validity.valid) settings.temperature = $("temperature").value;
  settings.theme = [...document.getElementsByName("theme")].find((choice) => choice.checked)?.value ?? "";
  saveSettings();
  applyTheme();
}

function showSidebar(isOpen) {
  document.body.classList.toggle("sidebar-open", isOpen);
  $("backdrop").hidden = !isOpen;
  $("main").inert = isOpen;
  $("open-sidebar").setAttribute("aria-expanded", String(isOpen));
  $(isOpen ? "new" : "input").focus();
}

const isSidebarOver = () => document.body.classList.contains("sidebar-open");

// -- events -----------------------------------------------------------------------------------------------------------

function listen() {
  $("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    send();
  });
  $("input").addEventListener("input", fit);
  $("input").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
    event.preventDefault();
    send();
  });
  $("stop").addEventListener("click", () => runs.get(current.id)?.stop());
  $("cancel-edit").addEventListener("click", stopEditing);
  $("messages").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button?.matches(".edit")) edit();
    if (button?.matches(".again, .again-now")) again(current);
    if (button?.matches(".copy-code")) copy(button.closest(".code").querySelector("code").textContent, button);
    if (button?.matches(".copy")) {
      const place = [...$("messages").children].indexOf(button.closest(".message"));
      copy(current.messages[place].content, button);
    }
  });

  $("new").addEventListener("click", () => {
    openConversation(null);
    if (isSidebarOver()) showSidebar(false);
    $("input").focus();
  });
  $("conversations").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    const item = button?.closest("li");
    if (!item) return;
    if (button.matches(".rename")) rename(item);
    else if (button.matches(".delete")) remove(item);
    else if (item.dataset.id !== current.id) openConversation(conversations.get(item.dataset.id));
    if (button.matches(".open") && isSidebarOver()) showSidebar(false);
  });
  $("conversations").addEventListener("dblclick", (event) => {
    if (event.target.closest(".open")) rename(event.target.closest("li"));
  });
  $("open-sidebar").addEventListener("click", () => showSidebar(true));
  $("close-sidebar").addEventListener("click", () => showSidebar(false));
  $("backdrop").addEventListener("click", () => showSidebar(false));

  $("scroll").addEventListener("scroll", showWhetherAtBottom, { passive: true });
  $("to-bottom").addEventListener("click", toBottom);
  new ResizeObserver(follow).observe($("scroll"));

  $("model").addEventListener("focus", () => {
    openModels();
    $("model").select();
  });
  $("model").addEventListener("click", openModels);
  $("model").addEventListener("blur", closeModels);
  $("model").addEventListener("input", () => {
    openModels();
    models.hasTyped = true;
    showModels();
  });
  $("model").addEventListener("keydown", modelKey);
  $("models").addEventListener("mousedown", (event) => {
    event.preventDefault(); // the field keeps the focus
    const chosen = event.target.closest(".option");
    if (!chosen) return;
    chooseModel(chosen.dataset.model);
    closeModels();
    $("input").focus();
  });

  $("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    useKey();
  });
  $("forget-key").addEventListener("click", forgetKey);
  $("open-settings").addEventListener("click", () => {
    showSettings();
    $("settings").showModal();
  });
  for (const kind of ["input", "change"]) $("settings").addEventListener(kind, changeSettings);
  $("settings").addEventListener("click", (event) => {
    if (event.target === $("settings")) $("settings").close(); // beside it
  });

  $("notice-close").addEventListener("click", () => hide($("notice")));
  $("notice-action").addEventListener("click", () => {
    hide($("notice"));
    noticeAction?.();
  });

  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || event.isComposing || $("settings").open) return;
    if (isSidebarOver()) showSidebar(false);
    else if (runs.has(current.id)) runs.get(current.id).stop();
    else if (isEditing) stopEditing();
  });

  // Store the partial answer, in case the page is not restored.
  const saveRunning = () => runs.forEach((run) => save(run.conversation));
  window.addEventListener("pagehide", saveRunning);
  document.addEventListener("visibilitychange", () => document.hidden && saveRunning());
  window.addEventListener("storage", takeFromOtherTabs);
  matchMedia("(min-width: 48rem)").addEventListener("change", () => isSidebarOver() && showSidebar(false));
}

function takeFromOtherTabs(event) {
  if (!event.key?.startsWith(CONVERSATION)) return;
  const id = event.key.slice(CONVERSATION.length);
  if (runs.has(id)) return; // what comes here is newer
  const read = readConversation(event.key);
  if (read) conversations.set(id, read);
  else conversations.delete(id);
  if (id === current.id && read) openConversation(read);
  else showConversations();
}

function start() {
  applyTheme();
  loadConversations();
  $("model").value = settings.model;
  listen();
  openConversation(conversations.get(store.get("anyllm.open", "sessionStorage")) ?? null);
  loadModels();
  $("input").focus();
}

start();
