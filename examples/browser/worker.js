// SPDX-License-Identifier: Apache-2.0
//
// Runs the model beside the page, so that the page keeps answering.

import * as ort from "./node_modules/onnxruntime-web/dist/ort.wasm.min.mjs";

import { checkSettings, prepare } from "./processing.js";

ort.env.wasm.wasmPaths = new URL("./node_modules/onnxruntime-web/dist/", import.meta.url).href;
// several threads need a page that is isolated from other origins, which a plain file server does not make it
ort.env.wasm.numThreads = 1;

let session = null;
let settings = null;

const tasks = {
  /** Loads a folder that `transformers-sat export` wrote. */
  async load({ folder, file }) {
    const config = JSON.parse(new TextDecoder().decode(await download(`${folder}/config.json`)));
    settings = checkSettings(
      JSON.parse(new TextDecoder().decode(await download(`${folder}/preprocessor_config.json`))),
    );
    const model = await download(`${folder}/onnx/${file}`, (share) => postMessage({ progress: share }));
    session = await ort.InferenceSession.create(model, { executionProviders: ["wasm"] });
    // as `has_independent_classes` of the configuration
    const independent =
      config.problem_type === "multi_label_classification" || Object.keys(config.id2label ?? {}).length === 1;
    return { labels: config.id2label, independent, settings };
  },

  /** Localizes one image, given as red, green, blue and alpha of each pixel. */
  async run({ pixels, width, height }) {
    const started = performance.now();
    const input = prepare(pixels, width, height, settings);
    const tensor = new ort.Tensor("float32", input.values, [1, 3, input.height, input.width]);
    const { logits, localization_map: map } = await session.run({ pixel_values: tensor });
    const [, gridHeight, gridWidth] = map.dims;
    return {
      logits: logits.data,
      map: map.data,
      grid: { width: gridWidth, height: gridHeight },
      milliseconds: performance.now() - started,
    };
  },
};

onmessage = async ({ data: { id, task, ...options } }) => {
  try {
    postMessage({ id, result: await tasks[task](options) });
  } catch (error) {
    postMessage({ id, error: error.message });
  }
};

/** Bytes of a file; `onProgress` hears of the share that has come, where the server says how long the file is. */
async function download(url, onProgress = () => {}) {
  const response = await fetch(url).catch((error) => {
    throw new Error(`${url}: ${error.message}`);
  });
  if (!response.ok) throw new Error(`${url}: the server answered ${response.status} ${response.statusText}.`);
  const length = Number(response.headers.get("Content-Length"));
  const chunks = [];
  let received = 0;
  for (const reader = response.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    chunks.push(value);
    received += value.length;
    if (length) onProgress(Math.min(received / length, 1));
  }
  return new Uint8Array(await new Blob(chunks).arrayBuffer());
}
