// SPDX-License-Identifier: Apache-2.0
//
// From an image's pixels to the numbers that the model takes, as SATImageProcessor makes them in Python.

const BILINEAR = 2;

// Weights of the resize are integers over 2^22, and each of its two passes rounds to 8 bits, as in Pillow.
const PRECISION_BITS = 22;

/**
 * Checks the contents of preprocessor_config.json.
 *
 * @param {object} settings
 * @returns {object} the same
 * @throws {Error} for settings that this page does not know how to follow
 */
export function checkSettings(settings) {
  if (settings.do_resize && settings.resample !== BILINEAR) {
    throw new Error(`preprocessor_config.json: "resample" must be 2 (bilinear), got ${settings.resample}.`);
  }
  if (settings.do_resize && !fixedSize(settings.size) && !onlyShortestEdge(settings.size)) {
    const given = JSON.stringify(settings.size);
    throw new Error(`preprocessor_config.json: "size" must have height and width, or shortest_edge, got ${given}.`);
  }
  if (typeof settings.localization_threshold !== "number") {
    throw new Error('preprocessor_config.json has no "localization_threshold"; export the model again.');
  }
  return settings;
}

/** @returns {{width: number, height: number}} what an image is resized to, before a crop */
export function resizedSize(width, height, settings) {
  if (!settings.do_resize) return { width, height };
  const { size } = settings;
  if (fixedSize(size)) return { width: size.width, height: size.height };
  const shortest = Math.min(width, height);
  const scaled = (side) => (side === shortest ? size.shortest_edge : Math.trunc((size.shortest_edge * side) / shortest));
  return { width: scaled(width), height: scaled(height) };
}

/**
 * The part of an image that reaches the model, in the image's pixels. It may reach beyond the image, where a crop
 * is larger than what it is cut from and padded.
 *
 * @returns {{x0: number, y0: number, x1: number, y1: number}}
 */
export function seenPart(width, height, settings) {
  if (!settings.do_center_crop) return { x0: 0, y0: 0, x1: width, y1: height };
  const resized = resizedSize(width, height, settings);
  const crop = settings.crop_size;
  const left = Math.trunc((resized.width - crop.width) / 2);
  const top = Math.trunc((resized.height - crop.height) / 2);
  const scaleX = width / resized.width;
  const scaleY = height / resized.height;
  return { x0: left * scaleX, y0: top * scaleY, x1: (left + crop.width) * scaleX, y1: (top + crop.height) * scaleY };
}

/**
 * Resizes, crops and normalises an image.
 *
 * @param {Uint8ClampedArray} pixels red, green, blue and alpha of each pixel, row by row; alpha is not used
 * @param {number} width of the image
 * @param {number} height of the image
 * @param {object} settings contents of preprocessor_config.json
 * @returns {{values: Float32Array, width: number, height: number}} values of shape (3, height, width)
 */
export function prepare(pixels, width, height, settings) {
  const resized = resizedSize(width, height, settings);
  const small = resize(pixels, width, height, resized.width, resized.height);
  const crop = settings.do_center_crop ? settings.crop_size : resized;
  const left = Math.trunc((resized.width - crop.width) / 2);
  const top = Math.trunc((resized.height - crop.height) / 2);
  const values = new Float32Array(3 * crop.height * crop.width);
  const factor = settings.do_rescale ? settings.rescale_factor : 1;
  for (let channel = 0; channel < 3; channel++) {
    const mean = settings.do_normalize ? settings.image_mean[channel] : 0;
    const std = settings.do_normalize ? settings.image_std[channel] : 1;
    for (let y = 0; y < crop.height; y++) {
      for (let x = 0; x < crop.width; x++) {
        const column = x + left;
        const row = y + top;
        const inside = column >= 0 && column < resized.width && row >= 0 && row < resized.height;
        const value = inside ? small[3 * (row * resized.width + column) + channel] : 0;
        values[(channel * crop.height + y) * crop.width + x] = (value * factor - mean) / std;
      }
    }
  }
  return { values, width: crop.width, height: crop.height };
}

/**
 * Bilinear resize with antialiasing: when it shrinks, every pixel counts.
 *
 * @returns {Uint8Array} red, green and blue of each pixel, row by row
 */
export function resize(pixels, width, height, newWidth, newHeight) {
  const columns = resizeWeights(width, newWidth);
  const narrow = new Uint8Array(3 * height * newWidth);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < newWidth; x++) {
      const { first, weights } = columns[x];
      for (let channel = 0; channel < 3; channel++) {
        let sum = 1 << (PRECISION_BITS - 1);
        for (let i = 0; i < weights.length; i++) sum += pixels[4 * (y * width + first + i) + channel] * weights[i];
        narrow[3 * (y * newWidth + x) + channel] = clamp(sum >> PRECISION_BITS);
      }
    }
  }
  const rows = resizeWeights(height, newHeight);
  const resized = new Uint8Array(3 * newHeight * newWidth);
  const rowLength = 3 * newWidth;
  for (let y = 0; y < newHeight; y++) {
    const { first, weights } = rows[y];
    for (let x = 0; x < rowLength; x++) {
      let sum = 1 << (PRECISION_BITS - 1);
      for (let i = 0; i < weights.length; i++) sum += narrow[(first + i) * rowLength + x] * weights[i];
      resized[y * rowLength + x] = clamp(sum >> PRECISION_BITS);
    }
  }
  return resized;
}

/** For each of `newLength` pixels: the first of `length` pixels that it is made of, and their weights. */
function resizeWeights(length, newLength) {
  const scale = length / newLength;
  const reach = Math.max(scale, 1);
  return Array.from({ length: newLength }, (_, pixel) => {
    const centre = (pixel + 0.5) * scale;
    const first = Math.max(Math.trunc(centre - reach + 0.5), 0);
    const last = Math.min(Math.trunc(centre + reach + 0.5), length);
    const weights = [];
    for (let i = first; i < last; i++) weights.push(Math.max(0, 1 - Math.abs(i + 0.5 - centre) / reach));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    return { first, weights: Int32Array.from(weights, (weight) => Math.round((weight / total) * (1 << PRECISION_BITS))) };
  });
}

function clamp(value) {
  return Math.min(Math.max(value, 0), 255);
}

function fixedSize(size) {
  return Boolean(size && size.height && size.width);
}

function onlyShortestEdge(size) {
  return Boolean(size && size.shortest_edge && !size.longest_edge);
}
