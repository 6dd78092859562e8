// SPDX-License-Identifier: Apache-2.0

// Colours of the map at 0, 1/4, ... 1: dark to bright, so that they are told apart without seeing hues too.
const COLOURS = [
  [20, 11, 53],
  [87, 15, 109],
  [187, 55, 84],
  [249, 142, 9],
  [252, 255, 164],
];

const BOX_COLOUR = "#00e0a4";

// Longest side of the drawing, in pixels: more would be slow to redraw and is not seen.
const LONGEST_SIDE = 1280;

/**
 * Draws the image, the map over it, and the box.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {ImageBitmap} image
 * @param {{values: Float32Array, x: number, y: number, width: number, height: number}} inPixels the normalized map
 * @param {number[]} box [x0, y0, x1, y1] in the image's pixels
 * @param {number} opacity of the map, from 0 to 1
 */
export function draw(canvas, image, inPixels, box, opacity) {
  const scale = Math.min(1, LONGEST_SIDE / Math.max(image.width, image.height));
  canvas.width = Math.max(Math.round(image.width * scale), 1);
  canvas.height = Math.max(Math.round(image.height * scale), 1);
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  context.globalAlpha = opacity;
  context.drawImage(heatMap(inPixels, canvas.width, canvas.height, scale), 0, 0);
  context.globalAlpha = 1;

  const [x0, y0, x1, y1] = box.map((side) => side * scale);
  const lineWidth = Math.max(canvas.width, canvas.height) / 160;
  for (const [colour, width] of [["rgba(0, 0, 0, 0.6)", 2 * lineWidth], [BOX_COLOUR, lineWidth]]) {
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.strokeRect(x0, y0, x1 - x0, y1 - y0);
  }
}

/** The map in colours on a canvas of the drawing's size; what the model did not see stays clear. */
function heatMap(inPixels, width, height, scale) {
  const colours = colourTable();
  const image = new ImageData(width, height);
  const target = new Uint32Array(image.data.buffer);
  for (let y = 0; y < height; y++) {
    const row = Math.floor((y + 0.5) / scale) - inPixels.y;
    if (row < 0 || row >= inPixels.height) continue;
    for (let x = 0; x < width; x++) {
      const column = Math.floor((x + 0.5) / scale) - inPixels.x;
      if (column < 0 || column >= inPixels.width) continue;
      target[y * width + x] = colours[Math.round(255 * inPixels.values[row * inPixels.width + column])];
    }
  }
  const canvas = new OffscreenCanvas(width, height);
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

/** Opaque colours for 0 to 255, as the four bytes of an ImageData's pixel. */
function colourTable() {
  const bytes = new Uint8ClampedArray(4 * 256);
  for (let value = 0; value < 256; value++) {
    const position = (value / 255) * (COLOURS.length - 1);
    const before = Math.min(Math.floor(position), COLOURS.length - 2);
    for (let channel = 0; channel < 3; channel++) {
      const [from, to] = [COLOURS[before][channel], COLOURS[before + 1][channel]];
      bytes[4 * value + channel] = from + (to - from) * (position - before);
    }
    bytes[4 * value + 3] = 255;
  }
  return new Uint32Array(bytes.buffer);
}
