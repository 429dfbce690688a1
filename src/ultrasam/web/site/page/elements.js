// Finding and making elements of the page, and waiting until it rests.

export const byId = (id) => document.getElementById(id);

/** Do something after what is to be drawn. */
export const whenIdle = globalThis.requestIdleCallback ?? ((action) => setTimeout(action, 50));

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
  prompt: 'M8 1v3M8 12v3M1 8h3M12 8h3M8 6v4M6 8h4',
  brush: 'M13.5 2.5l-6 6M7.5 8.5c-2-.5-3.5.5-4 2.5-.3 1.2-.8 2-2 2.5 2.5.8 6 .3 7-2.5.3-1-.2-2-1-2.5z',
  eraser: 'M6 13.5h8M2 9.5l4 4 7.5-7.5-4-4zM5.5 6l4 4',
  polygon: 'M3 5l6-2.5 4.5 5-3 6-7-1.5zM2 4h2v2H2zM8 1.5h2v2H8zM12.5 6.5h2v2h-2z',
  move: 'M3 2l9 5-4 1.5L6 13z',
  undo: 'M6 3L2.5 6.5 6 10M2.5 6.5H10a3.5 3.5 0 0 1 0 7H6',
  redo: 'M10 3l3.5 3.5L10 10M13.5 6.5H6a3.5 3.5 0 0 0 0 7h4',
  previous: 'M10 3L5 8l5 5',
  next: 'M6 3l5 5-5 5',
  play: 'M4 2.5l9 5.5-9 5.5z',
  pause: 'M5 3v10M11 3v10',
  both: 'M1.5 8h13M4.5 5l-3 3 3 3M11.5 5l3 3-3 3',
  backward: 'M14 8H2.5M6 4.5L2.5 8 6 11.5',
  forward: 'M2 8h11.5M10 4.5L13.5 8 10 11.5',
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
