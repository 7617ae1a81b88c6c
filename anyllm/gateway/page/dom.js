/* Find, copy and make elements. Text is never parsed as markup. */

/** The element with an id. */
export const $ = (id) => document.getElementById(id);

/** A copy of a template's only element. */
export function clone(id) {
  return $(id).content.firstElementChild.cloneNode(true);
}

/** A new element with children, text or nodes. */
export function element(name, children = [], className = "") {
  const made = document.createElement(name);
  if (className) made.className = className;
  for (const child of children) made.append(child);
  return made;
}
