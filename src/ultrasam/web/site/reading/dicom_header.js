// Parses a DICOM file (PS3.5, PS3.10) into its elements.

const LITTLE_IMPLICIT = '1.2.840.10008.1.2';
const LITTLE_EXPLICIT = '1.2.840.10008.1.2.1';
const BIG_EXPLICIT = '1.2.840.10008.1.2.2';
export const JPEG_BASELINE = '1.2.840.10008.1.2.4.50';
export const UNCOMPRESSED = [LITTLE_IMPLICIT, LITTLE_EXPLICIT, BIG_EXPLICIT];

const NAMES = {
  '1.2.840.10008.1.2.1.99': 'deflated',
  '1.2.840.10008.1.2.4.51': 'JPEG of 12 bits',
  '1.2.840.10008.1.2.4.57': 'lossless JPEG',
  '1.2.840.10008.1.2.4.70': 'lossless JPEG',
  '1.2.840.10008.1.2.4.80': 'JPEG-LS',
  '1.2.840.10008.1.2.4.81': 'JPEG-LS',
  '1.2.840.10008.1.2.4.90': 'JPEG 2000',
  '1.2.840.10008.1.2.4.91': 'JPEG 2000',
  '1.2.840.10008.1.2.5': 'RLE',
};
const LONG = new Set(['OB', 'OD', 'OF', 'OL', 'OV', 'OW', 'SQ', 'SV', 'UC', 'UN', 'UR', 'UT', 'UV']);
const UNDEFINED = 0xffffffff;
const SEQUENCES = new Set([0x00186011, 0x00283000, 0x00283010, 0x52009229, 0x52009230, 0x00289145,
  0x00289132, 0x00289110]);
const PIXELS = 0x7fe00010;
const [ITEM, ITEM_END, SEQUENCE_END] = [0xfffee000, 0xfffee00d, 0xfffee0dd];

export function isDicom(bytes) {
  return bytes.length > 132 && String.fromCharCode(...bytes.subarray(128, 132)) === 'DICM';
}

/** {syntax, header}: the transfer syntax and the elements. Throws an Error with one sentence if it cannot be read. */
export function parseDicom(bytes) {
  if (!isDicom(bytes)) throw new Error('It is not DICOM.');
  const meta = new Elements(bytes, { position: 132, implicit: false, little: true });
  meta.read((tag) => tag >>> 16 === 2);
  const syntax = meta.text(0x00020010) || LITTLE_IMPLICIT;
  if (![...UNCOMPRESSED, JPEG_BASELINE].includes(syntax)) {
    const name = NAMES[syntax] ? `${NAMES[syntax]} (${syntax})` : syntax;
    throw new Error(
      `Its pixels are compressed as ${name}, which this page does not read; export it uncompressed or as ` +
        'baseline JPEG, or use the Python package.',
    );
  }
  const header = new Elements(bytes, {
    position: meta.position, implicit: syntax === LITTLE_IMPLICIT, little: syntax !== BIG_EXPLICIT,
  });
  header.read(() => true);
  return { syntax, header };
}

/** Elements of a data set, by tag. */
export class Elements {
  constructor(bytes, { position, implicit, little }) {
    Object.assign(this, { bytes, position, implicit, little, found: new Map() });
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** Read elements while their tag is wanted; stops behind the pixels. */
  read(wanted, end = this.bytes.length) {
    while (this.position + 8 <= end) {
      const start = this.position;
      const tag = this.#tag();
      if (tag === ITEM_END || tag === SEQUENCE_END) {
        this.position += 4;
        return;
      }
      if (!wanted(tag)) {
        this.position = start;
        return;
      }
      const element = this.#element(tag);
      this.found.set(tag, element);
      if (tag === PIXELS) return;
    }
  }

  #tag() {
    const tag = ((this.view.getUint16(this.position, this.little) << 16) >>> 0) +
      this.view.getUint16(this.position + 2, this.little);
    this.position += 4;
    return tag;
  }

  #element(tag) {
    let kind = '';
    let length;
    if (this.implicit) {
      length = this.view.getUint32(this.position, this.little);
      this.position += 4;
    } else {
      kind = String.fromCharCode(this.bytes[this.position], this.bytes[this.position + 1]);
      if (LONG.has(kind)) {
        this.#require(8);
        length = this.view.getUint32(this.position + 4, this.little);
        this.position += 8;
      } else {
        length = this.view.getUint16(this.position + 2, this.little);
        this.position += 4;
      }
    }
    const element = { kind, start: this.position, length, undefinedLength: length === UNDEFINED };
    if (tag === PIXELS) {
      element.length = Math.min(length, this.bytes.length - this.position);
    } else if (kind === 'SQ' || element.undefinedLength || SEQUENCES.has(tag)) {
      element.items = this.#items(length);
    } else {
      this.#require(length);
      this.position += length;
    }
    return element;
  }

  #require(length) {
    if (this.position + length > this.bytes.length) {
      throw new Error('It is cut off or damaged; copy or export it again.');
    }
  }

  #items(length) {
    const end = length === UNDEFINED ? this.bytes.length : this.position + length;
    const items = [];
    while (this.position + 8 <= end) {
      const tag = this.#tag();
      const size = this.view.getUint32(this.position, this.little);
      this.position += 4;
      if (tag === SEQUENCE_END) break;
      if (tag !== ITEM) throw new Error('It is damaged; copy or export it again.');
      const item = new Elements(this.bytes, this);
      const itemEnd = size === UNDEFINED ? end : this.position + size;
      item.position = this.position;
      item.read(() => true, itemEnd);
      this.position = size === UNDEFINED ? item.position : itemEnd;
      items.push(item);
    }
    return items;
  }

  get(tag) {
    return this.found.get(tag);
  }

  items(tag) {
    return this.found.get(tag)?.items ?? [];
  }

  text(tag) {
    const element = this.found.get(tag);
    if (!element || element.items) return '';
    const raw = this.bytes.subarray(element.start, element.start + element.length);
    return new TextDecoder('latin1').decode(raw).replace(/[\0 ]+$/, '').trim();
  }

  /** The values of an element as finite numbers; none if it is absent, empty or no numbers. */
  numbers(tag, kind = null) {
    const element = this.found.get(tag);
    if (!element || !element.length || element.items) return [];
    const binary = { US: [2, 'getUint16'], SS: [2, 'getInt16'], UL: [4, 'getUint32'], SL: [4, 'getInt32'],
      FL: [4, 'getFloat32'], FD: [8, 'getFloat64'] }[element.kind || kind];
    if (!binary) {
      const values = this.text(tag).split('\\').map((part) => (part.trim() ? Number(part) : NaN));
      return values.every(Number.isFinite) ? values : [];
    }
    const [size, read] = binary;
    const values = [];
    for (let at = element.start; at + size <= element.start + element.length; at += size) {
      values.push(this.view[read](at, this.little));
    }
    return values;
  }

  /** The element's only value, or `absent`. */
  number(tag, kind = null, absent = null) {
    return this.numbers(tag, kind)[0] ?? absent;
  }
}

/** The parts of encapsulated pixels, without the offset table. */
export function fragments(header) {
  const { bytes, view } = header;
  const parts = [];
  let at = header.get(PIXELS).start;
  while (at + 8 <= bytes.length) {
    const item = view.getUint16(at, true) === 0xfffe && view.getUint16(at + 2, true) === 0xe000;
    if (!item) break;
    const length = view.getUint32(at + 4, true);
    parts.push(bytes.subarray(at + 8, Math.min(at + 8 + length, bytes.length)));
    at += 8 + length;
  }
  return parts.slice(1);
}
