// Names the kinds of file that this page does not read, by how they begin.

const KINDS = [
  ['a video', [[4, 'ftyp'], [8, 'AVI '], [0, '\x1aE\xdf\xa3'], [0, 'OggS']]],
  ['a MetaImage volume or sequence', [[0, 'ObjectType'], [0, 'NDims']]],
  ['an NRRD volume or sequence', [[0, 'NRRD']]],
  ['a NIfTI volume', [[344, 'n+1\0'], [344, 'ni1\0'], [4, 'n+2\0']]],
  ['a TIFF', [[0, 'II*\0'], [0, 'MM\0*']]],
  ['a JPEG 2000', [[4, 'jP  '], [0, '\xff\x4f\xff\x51']]],
  ['a PDF', [[0, '%PDF']]],
  ['an archive', [[0, 'PK\x03\x04'], [0, '7z\xbc\xaf'], [0, 'Rar!'], [0, '\x1f\x8b']]],
];

/** What a file is that the page cannot read: 'a video', 'a TIFF', …; null if that is not known. */
export function kindOf(bytes) {
  const start = String.fromCharCode(...bytes.subarray(0, 512));
  return KINDS.find(([, marks]) => marks.some(([at, mark]) => start.startsWith(mark, at)))?.[0] ?? null;
}
