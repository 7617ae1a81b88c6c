/* Elements: found, copied from a template, made. None is ever made of text that is markup. */

/** The element of that id. */
export const $ = (id) => document.getElementById(id);

/** A copy of a template's only element. */
export function clone(id) {
  return $(id).content.firstElementChild.cloneNode(true);
}

/** An element with children: text or nodes, however many. */
export function element(name, children = [], className = "") {
  const made = document.createElement(name);
  if (className) made.className = className;
  for (const child of children) made.append(child);
  return made;
}
