// Finding and making elements of the page.

export const byId = (id) => document.getElementById(id);

/** An element with properties and children; `data` become data attributes, `aria` accessible properties. */
export function make(tag, { aria = {}, on = {}, ...properties } = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  for (const [name, value] of Object.entries(aria)) element.setAttribute(`aria-${name}`, value);
  for (const [name, listener] of Object.entries(on)) element.addEventListener(name, listener);
  element.append(...children);
  return element;
}
