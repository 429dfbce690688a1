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

const SHAPES = {
  shown: 'M1 8s2.5-4.5 7-4.5S15 8 15 8s-2.5 4.5-7 4.5S1 8 1 8zM8 6a2 2 0 1 0 0 4 2 2 0 0 0 0-4z',
  hidden: 'M1 8s2.5-4.5 7-4.5S15 8 15 8s-2.5 4.5-7 4.5S1 8 1 8zM2.5 13.5l11-11',
  remove: 'M4 4l8 8M12 4l-8 8',
};

/** A drawing of 16 × 16 pixels in the color of the text. */
export function icon(name) {
  const [svg, path] = ['svg', 'path'].map((tag) => document.createElementNS('http://www.w3.org/2000/svg', tag));
  for (const [key, value] of Object.entries({ viewBox: '0 0 16 16', width: 16, height: 16 })) svg.setAttribute(key, value);
  svg.classList.add('icon');
  path.setAttribute('d', SHAPES[name]);
  svg.append(path);
  return svg;
}
