// SPDX-License-Identifier: Apache-2.0
//
// From the model's output to classes and a box: the steps of localization_sat.py, one by one.

const NORMALIZATION_EPSILON = 1e-5;

/** @returns {number[]} probabilities of classes that exclude each other, or of those of a multi-label model */
export function probabilities(logits, independent) {
  return independent ? Array.from(logits, (logit) => 1 / (1 + Math.exp(-logit))) : softmax(logits);
}

function softmax(logits) {
  const largest = Math.max(...logits);
  const exponentials = Array.from(logits, (logit) => Math.exp(logit - largest));
  const total = exponentials.reduce((sum, value) => sum + value, 0);
  return exponentials.map((value) => value / total);
}

/** @returns {Float32Array} the map stretched to the range from 0 to just below 1; zeros if it is not finite */
export function normalizeMap(map) {
  if (!map.every(Number.isFinite)) return new Float32Array(map.length);
  const smallest = map.reduce((a, b) => Math.min(a, b));
  const largest = map.reduce((a, b) => Math.max(a, b));
  return Float32Array.from(map, (value) => (value - smallest) / (largest - smallest + NORMALIZATION_EPSILON));
}

/**
 * Lays a map over its image: bilinear between the centres of the grid's cells, constant beyond the outermost ones.
 *
 * @param {Float32Array} map of shape (grid.height, grid.width)
 * @param {{width: number, height: number}} grid
 * @param {number} width of the image
 * @param {number} height of the image
 * @param {{x0: number, y0: number, x1: number, y1: number}} seen the part of the image that the grid covers
 * @returns {{values: Float32Array, x: number, y: number, width: number, height: number}} the map in pixels, and the
 *     rectangle of pixels that it lies on: those with their centre in the seen part, at least one
 */
export function mapInImage(map, grid, width, height, seen) {
  const columns = interpolationWeights(width, seen.x0, seen.x1, grid.width);
  const rows = interpolationWeights(height, seen.y0, seen.y1, grid.height);
  const values = new Float32Array(columns.cells.length * rows.cells.length);
  const line = new Float32Array(grid.width);
  rows.cells.forEach((row, y) => {
    const below = Math.min(row.cell + 1, grid.height - 1);
    for (let i = 0; i < grid.width; i++) {
      line[i] = map[row.cell * grid.width + i] * (1 - row.share) + map[below * grid.width + i] * row.share;
    }
    columns.cells.forEach((column, x) => {
      const right = Math.min(column.cell + 1, grid.width - 1);
      values[y * columns.cells.length + x] = line[column.cell] * (1 - column.share) + line[right] * column.share;
    });
  });
  return { values, x: columns.first, y: rows.first, width: columns.cells.length, height: rows.cells.length };
}

/** The first pixel of a side of the image that is seen, and for each that follows its cell and the next one's share. */
function interpolationWeights(length, start, stop, numCells) {
  let first = Math.max(Math.ceil(start - 0.5), 0);
  let last = Math.min(Math.ceil(stop - 0.5), length);
  if (last <= first) {
    // a part narrower than a pixel, between two centres: the pixel that holds its middle
    first = Math.min(Math.max(Math.floor((start + stop) / 2), 0), length - 1);
    last = first + 1;
  }
  const cells = [];
  for (let pixel = first; pixel < last; pixel++) {
    const position = ((pixel + 0.5 - start) / (stop - start)) * numCells - 0.5;
    const clamped = Math.min(Math.max(position, 0), numCells - 1);
    const cell = Math.floor(clamped);
    cells.push({ cell, share: clamped - cell });
  }
  return { first, cells };
}

/**
 * Cuts a map in pixels at a threshold.
 *
 * @param {{values: Float32Array, x: number, y: number, width: number, height: number}} inPixels result of mapInImage
 * @param {number} localizationThreshold from 0 to 1; foreground is strictly greater
 * @returns {number[]} [x0, y0, x1, y1] of the largest component in the image's pixels, far ends exclusive; around all
 *     of the map where nothing is above the threshold
 */
export function locate(inPixels, localizationThreshold) {
  const threshold = Math.fround(localizationThreshold);
  const box = largestComponentBox(inPixels.values, inPixels.width, inPixels.height, threshold);
  const [x0, y0, x1, y1] = box ?? [0, 0, inPixels.width, inPixels.height];
  return [x0 + inPixels.x, y0 + inPixels.y, x1 + inPixels.x, y1 + inPixels.y];
}

/** Pixels that touch at a corner belong together; of equally large components the first, row by row, counts. */
function largestComponentBox(values, width, height, threshold) {
  const waiting = new Uint8Array(values.length);
  for (let i = 0; i < values.length; i++) waiting[i] = values[i] > threshold ? 1 : 0;
  const stack = new Int32Array(values.length);
  let largest = 0;
  let box = null;
  for (let start = 0; start < values.length; start++) {
    if (!waiting[start]) continue;
    let size = 0;
    let [x0, y0, x1, y1] = [width, height, 0, 0];
    let depth = 0;
    stack[depth++] = start;
    waiting[start] = 0;
    while (depth > 0) {
      const pixel = stack[--depth];
      const x = pixel % width;
      const y = (pixel - x) / width;
      size++;
      x0 = Math.min(x0, x);
      y0 = Math.min(y0, y);
      x1 = Math.max(x1, x + 1);
      y1 = Math.max(y1, y + 1);
      for (let row = Math.max(y - 1, 0); row <= Math.min(y + 1, height - 1); row++) {
        for (let column = Math.max(x - 1, 0); column <= Math.min(x + 1, width - 1); column++) {
          const neighbour = row * width + column;
          if (waiting[neighbour]) {
            waiting[neighbour] = 0;
            stack[depth++] = neighbour;
          }
        }
      }
    }
    if (size > largest) {
      largest = size;
      box = [x0, y0, x1, y1];
    }
  }
  return box;
}
