/** Pixels of a film in the browser: 8-bit grey at several sizes, shown through a lookup table. */

/** Decode a PNG to grey bytes; colour management and transparency are off, the bytes are the server's. */
export async function greyOf(blob) {
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  const { width, height } = bitmap;
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const colours = context.getImageData(0, 0, width, height).data;
  const grey = new Uint8Array(width * height);
  for (let i = 0; i < grey.length; i += 1) grey[i] = colours[4 * i];
  return { grey, width, height };
}

/** Table of 256 opaque pixels for a window: centre and width in grey values, and whether to invert. */
export function windowTable({ centre, width, invert }) {
  const table = new Uint32Array(256);
  const low = centre - width / 2;
  for (let value = 0; value < 256; value += 1) {
    let shade = Math.round(Math.min(Math.max((value - low) / width, 0), 1) * 255);
    if (invert) shade = 255 - shade;
    table[value] = (0xff000000 | (shade << 16) | (shade << 8) | shade) >>> 0;
  }
  return table;
}

const SMALLEST = 256;

export class Film {
  /** Grey bytes of a film, and ever smaller copies, so that a far view is smooth and quick. */
  constructor({ grey, width, height }) {
    this.levels = [{ grey, width, height }];
    while (Math.max(this.levels.at(-1).width, this.levels.at(-1).height) > SMALLEST) {
      this.levels.push(halved(this.levels.at(-1)));
    }
    this.scratch = new OffscreenCanvas(1, 1);
    this.pen = this.scratch.getContext("2d");
  }

  /** Draw into a rectangle of the canvas, in its own pixels; what lies outside is not touched. */
  draw(context, table, left, top, width, height) {
    if (!(width > 0 && height > 0)) return;
    const level = this.fitting(width);
    const [across, down] = [width / level.width, height / level.height];
    const x0 = Math.max(0, Math.floor(-left / across));
    const y0 = Math.max(0, Math.floor(-top / down));
    const x1 = Math.min(level.width, Math.ceil((context.canvas.width - left) / across));
    const y1 = Math.min(level.height, Math.ceil((context.canvas.height - top) / down));
    if (x1 <= x0 || y1 <= y0) return;
    const picture = this.pen.createImageData(x1 - x0, y1 - y0);
    const words = new Uint32Array(picture.data.buffer);
    let i = 0;
    for (let y = y0; y < y1; y += 1) {
      const row = y * level.width;
      for (let x = x0; x < x1; x += 1) words[i++] = table[level.grey[row + x]];
    }
    this.scratch.width = x1 - x0;
    this.scratch.height = y1 - y0;
    this.pen.putImageData(picture, 0, 0);
    context.imageSmoothingEnabled = true;
    context.imageSmoothingQuality = "high";
    context.drawImage(this.scratch, left + x0 * across, top + y0 * down, (x1 - x0) * across, (y1 - y0) * down);
  }

  /** The smallest copy that still has a pixel for each pixel of the screen. */
  fitting(width) {
    return this.levels.findLast((level) => level.width >= width) ?? this.levels[0];
  }
}

function halved({ grey, width, height }) {
  const [w, h] = [Math.max(1, width >> 1), Math.max(1, height >> 1)];
  const small = new Uint8Array(w * h);
  const [right, below] = [width > 1 ? 1 : 0, height > 1 ? width : 0];
  for (let y = 0; y < h; y += 1) {
    for (let x = 0; x < w; x += 1) {
      const i = (height > 1 ? 2 * y : y) * width + (width > 1 ? 2 * x : x);
      small[y * w + x] = (grey[i] + grey[i + right] + grey[i + below] + grey[i + right + below] + 2) >> 2;
    }
  }
  return { grey: small, width: w, height: h };
}
