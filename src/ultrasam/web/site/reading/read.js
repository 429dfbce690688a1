// Reads a file as a scan: {name, width, height, frames, frame(index), spacing, frameTime, notes}.
//
// A frame is {data: Uint8Array, width, height, channels}; spacing is [row, column] in mm, or null.

import { readDicom } from './dicom.js';
import { isDicom } from './dicom_header.js';
import { kindOf } from './kinds.js';
import { readRaster } from './raster.js';

/** Open a File or Blob; what it holds decides, not its name. Throws an Error of one sentence, with its name. */
export async function readFile(file, name = file.name) {
  if (!file.size) throw new Error(`${name} is empty.`);
  try {
    const bytes = new Uint8Array(await file.arrayBuffer());
    const dicom = isDicom(bytes);
    const kind = dicom ? null : kindOf(bytes);
    if (kind) throw new Error(`It is ${kind}, which this page does not read; give PNG, JPEG or DICOM.`);
    return { name, ...(dicom ? await readDicom(bytes) : await readRaster(file)) };
  } catch (error) {
    const text = error instanceof RangeError ? 'It is damaged; copy or export it again.' : error.message;
    throw new Error(`${name} cannot be read. ${text}`);
  }
}
