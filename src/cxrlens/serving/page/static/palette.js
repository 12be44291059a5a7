/** The palette "ember" (matplotlib's inferno), safe for colour-blind eyes: 17 stops, linear between them. */
const STOPS = [
  0x000004, 0x0b0724, 0x210c4a, 0x3d0965, 0x57106e, 0x71196e, 0x8a226a, 0xa32c61, 0xbc3754,
  0xd24644, 0xe45a31, 0xf1731d, 0xf98e09, 0xfcac11, 0xf9cb35, 0xf2ea69, 0xfcffa4,
];

/** Colour [red, green, blue] of a value in [0, 1]. */
export function ember(value) {
  const place = Math.min(Math.max(value, 0), 1) * (STOPS.length - 1);
  const low = Math.min(Math.floor(place), STOPS.length - 2);
  const part = place - low;
  return [16, 8, 0].map((shift) => {
    const from = (STOPS[low] >> shift) & 255;
    const to = (STOPS[low + 1] >> shift) & 255;
    return Math.round(from + part * (to - from));
  });
}

const AGAINST = [235, 110, 0];
const FOR = [0, 125, 240];

/** Colour and opacity [red, green, blue, 0 to 255] of a byte of a map. */
function shade(byte, signed) {
  if (!signed) return [...ember(byte / 255), byte];
  const value = (byte - 128) / 127;
  return [...(value < 0 ? AGAINST : FOR), Math.round(255 * Math.min(Math.abs(value), 1))];
}

/** Draw the scale: from little to much or, signed, from against to for. */
export function drawScale(canvas, signed = false) {
  const context = canvas.getContext("2d");
  const row = context.createImageData(canvas.width, 1);
  for (let x = 0; x < canvas.width; x += 1) {
    const byte = (255 * x) / (canvas.width - 1);
    row.data.set(signed ? shade(byte, true) : [...ember(byte / 255), 255], 4 * x);
  }
  context.putImageData(row, 0, 0);
}

/** Colour an 8-bit map; where it is low, the film shows through. */
export function colourMap(grey, width, height, signed) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d");
  const picture = context.createImageData(width, height);
  const words = new Uint32Array(picture.data.buffer);
  const table = new Uint32Array(256);
  for (let value = 0; value < 256; value += 1) {
    const [red, green, blue, alpha] = shade(value, signed);
    table[value] = ((alpha << 24) | (blue << 16) | (green << 8) | red) >>> 0;
  }
  for (let i = 0; i < grey.length; i += 1) words[i] = table[grey[i]];
  context.putImageData(picture, 0, 0);
  return canvas;
}
