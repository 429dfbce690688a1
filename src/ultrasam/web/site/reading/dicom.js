// Reads DICOM as ultrasam.images.dicom does: single frames and cines, uncompressed or baseline JPEG.

import { toRgb } from './dicom_colors.js';
import { readSpacing } from './dicom_geometry.js';
import { fragments, parseDicom, UNCOMPRESSED } from './dicom_header.js';
import { applyScale, grayScale } from './gray_scale.js';
import { decodeJpeg } from './jpeg.js';

const TAG = Object.freeze({
  samples: 0x00280002, photometric: 0x00280004, planar: 0x00280006, frames: 0x00280008, rows: 0x00280010,
  columns: 0x00280011, allocated: 0x00280100, stored: 0x00280101, high: 0x00280102, signed: 0x00280103,
  padding: 0x00280120, center: 0x00281050, width: 0x00281051, intercept: 0x00281052, slope: 0x00281053,
  windowFunction: 0x00281056, modalityTable: 0x00283000, table: 0x00283010, frameTime: 0x00181063,
  pixels: 0x7fe00010,
});
const MAX_PIXELS = 100_000_000;
const UNUSABLE = 2; // levels of 255 that remain of a picture under a window meant for other pixels
const VARIED = 16; // range of stored values in which there is something to see
const GRAY = ['MONOCHROME1', 'MONOCHROME2'];
const COLORS = ['RGB', 'YBR_FULL', 'YBR_FULL_422'];

/** A scan, as in read.js, of a DICOM file's bytes. Throws an Error that says what this page does not read. */
export async function readDicom(bytes) {
  const { syntax, header } = parseDicom(bytes);
  const format = readFormat(header);
  const notes = [];
  const stored = UNCOMPRESSED.includes(syntax)
    ? uncompressed(header, format, notes)
    : await compressed(header, format, notes);
  if (stored.count < format.frames) {
    notes.push(`Only ${stored.count} of ${format.frames} frames are in the file; it may be cut off.`);
  }
  const first = await stored.get(0);
  const show = format.samples === 3 ? colors(format, notes) : grays(header, format, stored, first, notes);
  const { columns: width, rows: height } = format;
  return {
    width,
    height,
    frames: stored.count,
    frame: async (index) => show(await stored.get(index), index),
    spacing: readSpacing(header, notes),
    frameTime: stored.count > 1 ? header.number(TAG.frameTime) : null,
    notes,
  };
}

function readFormat(header) {
  const whole = (tag, absent) => header.number(tag, 'US', absent);
  const [rows, columns] = [whole(TAG.rows, 0), whole(TAG.columns, 0)];
  const pixels = header.get(TAG.pixels);
  if (!pixels || !rows || !columns) throw new Error('It holds no picture; give an image object.');
  if (rows * columns > MAX_PIXELS) throw new Error(`It declares ${columns} × ${rows} pixels; it is damaged.`);
  const allocated = whole(TAG.allocated, 8);
  const kind = header.text(TAG.photometric);
  const samples = whole(TAG.samples, 1);
  if (![8, 16].includes(allocated) || ![...GRAY, ...COLORS].includes(kind) ||
      (samples === 3) !== COLORS.includes(kind) || (samples === 3 && allocated !== 8)) {
    throw new Error(
      `Its pixels (${kind || 'of unknown kind'}, ${samples} × ${allocated} bits) are not read by this page; ` +
        'use the Python package.',
    );
  }
  if (header.items(TAG.modalityTable).length || header.items(TAG.table).length) {
    throw new Error('Its gray levels are given by a table, which this page does not read; use the Python package.');
  }
  const bits = whole(TAG.stored, allocated);
  return {
    rows, columns, samples, kind, allocated, stored: bits, high: whole(TAG.high, bits - 1),
    signed: whole(TAG.signed, 0) === 1, planar: whole(TAG.planar, 0) === 1,
    frames: Math.max(1, Math.trunc(header.number(TAG.frames, 'IS', 1))),
  };
}

/** Frames as they are stored: {count, get(index)}. */
function uncompressed(header, format, notes) {
  const { start, length, undefinedLength } = header.get(TAG.pixels);
  const { rows, columns, samples, allocated, kind } = format;
  if (undefinedLength) throw new Error('Its header says that its pixels are uncompressed, but they are not.');
  const half = kind === 'YBR_FULL_422';
  const size = half ? rows * Math.ceil(columns / 2) * 4 : (rows * columns * samples * allocated) / 8;
  const count = Math.min(format.frames, Math.floor(length / size));
  if (!count) {
    throw new Error(
      `It is cut off or its header is wrong: its pixels take ${length} bytes, but a frame needs ${size}; copy or ` +
        'export it again.',
    );
  }
  if (length - format.frames * size > 1) notes.push('The pixel data are longer than their frames; the rest is ignored.');
  const get = (index) => {
    const at = start + index * size;
    if (half) return expand422(header.bytes.subarray(at, at + size), rows, columns);
    if (samples === 3) {
      const bytes = header.bytes.subarray(at, at + size);
      return format.planar ? interleave(bytes) : bytes;
    }
    return grayValues(header, at, format);
  };
  return { count, get };
}

function interleave(planes) {
  const count = planes.length / 3;
  const out = new Uint8Array(planes.length);
  for (let i = 0; i < count; i++) {
    for (let c = 0; c < 3; c++) out[3 * i + c] = planes[c * count + i];
  }
  return out;
}

/** Y Y Cb Cr of two pixels as one triple for each. */
function expand422(bytes, rows, columns) {
  const out = new Uint8Array(rows * columns * 3);
  const pairs = Math.ceil(columns / 2);
  for (let y = 0; y < rows; y++) {
    for (let x = 0; x < columns; x++) {
      const from = (y * pairs + (x >> 1)) * 4;
      const to = (y * columns + x) * 3;
      out[to] = bytes[from + (x & 1)];
      out[to + 1] = bytes[from + 2];
      out[to + 2] = bytes[from + 3];
    }
  }
  return out;
}

/** Stored values without the bits that are not part of them (PS3.5 8.1.1). */
function grayValues(header, start, { rows, columns, allocated, stored, high, signed }) {
  const count = rows * columns;
  const shift = high - stored + 1;
  const unused = allocated - stored;
  if (allocated === 8) {
    const values = header.bytes.subarray(start, start + count);
    if (signed) return Int16Array.from(values, (v) => (v << (24 + unused - shift)) >> (24 + unused));
    return shift ? values.map((v) => v >> shift) : values;
  }
  const out = signed ? new Int16Array(count) : new Uint16Array(count);
  for (let i = 0; i < count; i++) {
    const value = header.view.getUint16(start + 2 * i, header.little);
    out[i] = signed ? (value << (16 + unused - shift)) >> (16 + unused) : value >> shift;
  }
  return out;
}

/** As `uncompressed`; frames are decoded when they are shown, because a cine in memory would be large. */
async function compressed(header, format, notes) {
  const parts = fragments(header);
  if (!parts.length) throw new Error('It holds no compressed pixels; copy or export it again.');
  const frames = parts.length === format.frames ? parts : joined(parts);
  const decode = (index) => decodeJpeg(frames[index], { asStored: format.samples === 3 });
  const first = await decode(0);
  const { width, height } = first;
  if (width !== format.columns || height !== format.rows) {
    notes.push(`The header says ${format.columns} × ${format.rows} pixels; ${width} × ${height} are shown.`);
    Object.assign(format, { columns: width, rows: height });
  }
  if (first.rgb) format.kind = 'RGB';
  const get = async (index) => {
    const found = index ? await decode(index) : first;
    if (found.width !== width || found.height !== height) {
      throw new Error(`Frame ${index} is ${found.width} × ${found.height} pixels, but the first is ${width} × ${height}.`);
    }
    return format.samples === 3 ? found.data : found.data.filter((_, i) => i % 3 === 0);
  };
  return { count: Math.min(frames.length, format.frames), get };
}

/** Fragments joined to frames: each begins with a JPEG's start. */
function joined(parts) {
  const frames = [];
  for (const part of parts) {
    if ((part[0] === 0xff && part[1] === 0xd8) || !frames.length) frames.push([part]);
    else frames.at(-1).push(part);
  }
  return frames.map((list) => {
    const out = new Uint8Array(list.reduce((sum, part) => sum + part.length, 0));
    let at = 0;
    for (const part of list) {
      out.set(part, at);
      at += part.length;
    }
    return out;
  });
}

function colors(format, notes) {
  const { columns: width, rows: height } = format;
  return (values, index) => {
    const data = toRgb(values, format.kind, index === 0 ? notes : []);
    return { data, width, height, channels: 3 };
  };
}

function grays(header, format, stored, first, notes) {
  const { columns: width, rows: height } = format;
  let window = readWindow(header, notes);
  const slope = header.number(TAG.slope, null, 1) || 1;
  const intercept = header.number(TAG.intercept, null, 0);
  // Without a window, a line that is the same for all frames changes no picture but by its direction.
  const line = (values) => (slope < 0 ? Int32Array.from(values, (v) => -v) : values);
  const padding = paddingValue(header, format);
  let scale = null;
  const scaleOf = () => {
    const few = format.stored < 8 ? format.stored : null;
    const all = first instanceof Uint8Array && !few ? 1 : stored.count; // 8 bits are shown as they are
    const frames = Array.from({ length: all }, (_, i) => (i ? stored.get(i) : first));
    return grayScale(frames.map((frame) => line(withoutPadding(frame, padding))), few);
  };
  const scaled = (values) => {
    scale ??= scaleOf();
    return applyScale(line(values), scale);
  };
  const windowed = (values) => Uint8Array.from(values, (v) => window(v * slope + intercept));
  if (window && range(first) >= VARIED && range(windowed(first)) <= UNUSABLE) {
    notes.push('The window shows nothing of the first frame; pixels are shown without a window.');
    window = null;
  }
  return (values) => {
    let data = window ? windowed(values) : scaled(values);
    if (format.kind === 'MONOCHROME1') data = data.map((v) => 255 - v);
    if (padding !== null && format.allocated > 8) data = data.map((v, i) => (values[i] === padding ? 0 : v));
    return { data, width, height, channels: 1 };
  };
}

/** A function from a modality value to a gray level (PS3.3 C.11.2.1), or null. */
function readWindow(header, notes) {
  const [center] = header.numbers(TAG.center);
  const [width] = header.numbers(TAG.width);
  if (center === undefined && width === undefined) return null;
  const kind = header.text(TAG.windowFunction).toUpperCase() || 'LINEAR';
  if (center === undefined || width === undefined || width <= 0 || (kind === 'LINEAR' && width < 1)) {
    notes.push('The window is incomplete; pixels are shown without a window.');
    return null;
  }
  const level = (part) => Math.min(Math.max(part * 255 + 0.5, 0), 255);
  if (kind === 'SIGMOID') {
    return (x) => level(1 / (1 + Math.exp(Math.min(Math.max((-4 * (x - center)) / width, -50), 50))));
  }
  if (kind === 'LINEAR_EXACT') return (x) => level((x - center) / width + 0.5);
  if (width === 1) return (x) => (x > center - 0.5 ? 255 : 0);
  return (x) => level((x - (center - 0.5)) / (width - 1) + 0.5);
}

function paddingValue(header, { signed, allocated }) {
  const value = header.number(TAG.padding, signed ? 'SS' : 'US');
  return value !== null && signed && value >= 1 << 15 && allocated === 16 ? value - (1 << 16) : value;
}

function withoutPadding(values, padding) {
  if (padding === null || !values.includes(padding)) return values;
  const rest = values.filter((v) => v !== padding);
  if (!rest.length) return values;
  const low = rest.reduce((a, b) => Math.min(a, b));
  return values.map((v) => (v === padding ? low : v));
}

function range(values) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return high - low;
}
