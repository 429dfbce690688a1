// Measurements as text, and on the picture.

import { strokeWithHalo } from '/shared/page/painting.js';

/** A value with its doubt and unit: `24.3 ± 0.6 mm`. */
export function textOf({ value, unit, low, high }) {
  const doubt = Number.isFinite(low) && Number.isFinite(high) ? (high - low) / 2 : null;
  if (unit === 'px') return `${digits(value, doubt)} px`;
  return `${digits(value, doubt)}${doubt ? ` ± ${digits(doubt, doubt)}` : ''} ${unit}`;
}

/** As many digits as the doubt leaves: its first one, and two where it begins with 1. */
function digits(value, doubt) {
  if (!doubt) return value >= 100 || Number.isInteger(value) ? value.toFixed(0) : value.toPrecision(3);
  const first = Math.floor(Math.log10(doubt));
  const places = (doubt / 10 ** first < 2 ? 1 : 0) - first;
  return value.toFixed(Math.min(Math.max(places, 0), 6));
}

/** The measure that stands for an object: its area, or null. */
export function mainOf(object) {
  return object.mask?.measure?.area ?? null;
}

/** The axes that can be drawn: [{ends, text}]. */
export function axesOf(object) {
  const measure = object.mask?.measure;
  return ['long_axis', 'short_axis'].map((name) => measure?.[name]).filter((axis) => axis?.ends)
    .map((axis) => ({ ends: axis.ends, text: textOf(axis), pixels: Boolean(measure.why) }));
}

/** Draw an object's axes with their lengths, and its name. */
export function paintMeasure(context, object, axes, view, ratio) {
  const path = new Path2D();
  for (const { ends: [[ax, ay], [bx, by]] } of axes) {
    path.moveTo(ax, ay);
    path.lineTo(bx, by);
  }
  strokeWithHalo(context, path, '#ffffff', { pixel: 1 / view.scale, width: 1, dash: [4, 3] });
  for (const { ends, text, pixels } of axes) {
    const right = ends[0][0] > ends[1][0] ? ends[0] : ends[1];
    paintText(context, text, right, view, ratio, { italic: pixels, across: 6, down: 4 });
  }
  paintName(context, object, view, ratio);
}

/** Write an object's label at its top-left corner, where the object is large enough on the screen. */
export function paintName(context, object, view, ratio) {
  const { crop, label, number, color, by } = object;
  if (!crop || crop.width * view.scale < 24) return;
  const top = topOf(crop);
  const text = `${label ?? `object ${number}`}${by ? ` (${by})` : ''}`;
  paintText(context, text, top, view, ratio, { color, across: 0, down: -6 });
}

function topOf({ x, y, width, data }) {
  const first = data.indexOf(1);
  return [x + (first % width), y + Math.floor(first / width)];
}

function paintText(context, text, [x, y], view, ratio, { color = '#ffffff', italic = false, across, down }) {
  context.save();
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.font = `${italic ? 'italic ' : ''}12px system-ui, sans-serif`;
  context.lineJoin = 'round';
  context.lineWidth = 3;
  context.strokeStyle = 'rgb(0 0 0 / .75)';
  const place = [view.x + x * view.scale + across, view.y + y * view.scale + down];
  context.strokeText(text, ...place);
  context.fillStyle = color;
  context.fillText(text, ...place);
  context.restore();
}
