// SPDX-License-Identifier: Apache-2.0
//
// The page: takes an image, runs the model once, and redraws at every move of a slider.

import { draw } from "./drawing.js";
import { locate, mapInImage, normalizeMap, probabilities } from "./localization.js";
import { Model } from "./model.js";
import { seenPart } from "./processing.js";

const NUM_CLASSES_SHOWN = 5;
// An image takes four bytes a pixel several times over, and browsers' canvases have limits of their own.
const MAX_MEGAPIXELS = 64;

const element = (id) => document.getElementById(id);
const address = new URLSearchParams(location.search);

let model = null;
let shown = null; // the image, its map in pixels and its box
let newest = 0; // number of the image that was chosen last
let redrawing = false;

async function start() {
  try {
    model = await Model.load(
      address.get("model") ?? "model",
      address.get("file") ?? "model.onnx",
      (share) => say(`Loading the model: ${Math.round(100 * share)} %`),
    );
  } catch (error) {
    return complain(`The model cannot be loaded. ${error.message}`);
  }
  element("threshold").value = model.settings.localization_threshold;
  showThreshold();
  element("file").disabled = false;
  document.body.dataset.state = "ready";
  return say("The model is ready: choose an image.");
}

async function localize(file) {
  if (model === null || !file) return;
  const number = ++newest;
  say("Looking at the image.");
  document.body.dataset.state = "busy";
  try {
    const image = await decode(file);
    const output = await model.run(pixelsOf(image));
    if (number !== newest) return; // another image was chosen meanwhile
    const { width, height } = image;
    const seen = seenPart(width, height, model.settings);
    const inPixels = mapInImage(normalizeMap(output.map), output.grid, width, height, seen);
    shown?.image.close();
    shown = { image, inPixels, box: null };
    showScores(probabilities(output.logits, model.independent));
    element("result").hidden = false;
    redraw();
    document.body.dataset.state = "done";
    say(`${file.name || "Image"}, ${width} x ${height} pixels: localized in ${Math.round(output.milliseconds)} ms.`);
  } catch (error) {
    if (number === newest) complain(`${file.name || "The image"} cannot be localized. ${error.message}`);
  }
}

/** The image upright, with its numbers as they are in the file. */
async function decode(file) {
  const options = { imageOrientation: "from-image", colorSpaceConversion: "none", premultiplyAlpha: "none" };
  const image = await createImageBitmap(file, options).catch(() => {
    throw new Error("It is no image that this browser can decode.");
  });
  if (image.width * image.height > MAX_MEGAPIXELS * 1e6) {
    throw new Error(
      `It has ${image.width} x ${image.height} pixels, more than ${MAX_MEGAPIXELS} million; make it smaller.`,
    );
  }
  return image;
}

function pixelsOf(image) {
  const context = new OffscreenCanvas(image.width, image.height).getContext("2d", { willReadFrequently: true });
  // what is transparent lies on white, as in Python
  context.fillStyle = "white";
  context.fillRect(0, 0, image.width, image.height);
  context.drawImage(image, 0, 0);
  return context.getImageData(0, 0, image.width, image.height);
}

/** Cuts the map again and draws: no run of the model. */
function redraw() {
  if (shown === null) return;
  shown.box = locate(shown.inPixels, element("threshold").valueAsNumber);
  draw(element("drawing"), shown.image, shown.inPixels, shown.box, element("opacity").valueAsNumber);
  const [x0, y0, x1, y1] = shown.box;
  element("box").textContent = `(${x0}, ${y0}) to (${x1}, ${y1}), ${x1 - x0} x ${y1 - y0} pixels`;
  const best = element("scores").querySelector(".name").textContent;
  element("drawing").setAttribute("aria-label", `The image with its map; ${best} from (${x0}, ${y0}) to (${x1}, ${y1})`);
}

/** Not more often than the screen shows it. */
function redrawSoon() {
  if (redrawing) return;
  redrawing = true;
  requestAnimationFrame(() => {
    redrawing = false;
    redraw();
  });
}

function showScores(scores) {
  const order = scores.map((_, label) => label).sort((a, b) => scores[b] - scores[a]);
  const rows = order.slice(0, NUM_CLASSES_SHOWN).map((label) => {
    const row = element("score").content.cloneNode(true);
    const percent = `${(100 * scores[label]).toFixed(1)} %`;
    row.querySelector(".name").textContent = model.labels[label] ?? `class ${label}`;
    row.querySelector(".percent").textContent = percent;
    row.querySelector("meter").value = scores[label];
    row.querySelector("meter").textContent = percent;
    return row;
  });
  element("scores").replaceChildren(...rows);
}

function showThreshold() {
  const value = element("threshold").valueAsNumber;
  const own = model !== null && value === model.settings.localization_threshold;
  element("threshold-value").textContent = value.toFixed(2) + (own ? " (the model's own)" : "");
}

function say(message) {
  element("status").textContent = message;
  element("status").classList.remove("error");
}

function complain(message) {
  say(message);
  element("status").classList.add("error");
  document.body.dataset.state = "error";
}

element("file").addEventListener("change", (event) => {
  localize(event.target.files[0]);
  event.target.value = ""; // so that the same file can be chosen again
});
element("threshold").addEventListener("input", () => {
  showThreshold();
  redrawSoon();
});
element("opacity").addEventListener("input", redrawSoon);
element("own-threshold").addEventListener("click", () => {
  element("threshold").value = model.settings.localization_threshold;
  showThreshold();
  redrawSoon();
});
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  element("drop").classList.add("over");
});
document.addEventListener("dragleave", () => element("drop").classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  element("drop").classList.remove("over");
  localize(event.dataTransfer.files[0]);
});
document.addEventListener("paste", (event) => localize(event.clipboardData.files[0]));

start();

// for the curious, and for tests
export const page = {
  get model() {
    return model;
  },
  get shown() {
    return shown;
  },
};
