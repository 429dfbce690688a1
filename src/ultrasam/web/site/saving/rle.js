// COCO's compressed run-length encoding, as ultrasam.images.rle: column by column, starting with a run of 0.

/** Encode a mask (Uint8Array of 0 and 1, row by row). */
export function encodeRle(mask, width, height) {
  const runs = [];
  let [value, length] = [0, 0];
  for (let x = 0; x < width; x++) {
    for (let y = 0; y < height; y++) {
      const next = mask[y * width + x];
      if (next !== value) {
        runs.push(length);
        [value, length] = [next, 0];
      }
      length++;
    }
  }
  runs.push(length);
  let text = '';
  runs.forEach((run, i) => {
    let left = i > 2 ? run - runs[i - 2] : run;
    for (let more = true; more;) {
      const group = left & 31;
      left >>= 5;
      more = group & 16 ? left !== -1 : left !== 0;
      text += String.fromCharCode(group + (more ? 80 : 48));
    }
  });
  return text;
}
