// SPDX-License-Identifier: Apache-2.0

/** The model, which runs in a worker. */
export class Model {
  #worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
  #waiting = new Map();
  #numTasks = 0;

  /** How many images the model was run on. */
  numRuns = 0;

  /**
   * @param {string} folder URL of a folder that `transformers-sat export` wrote
   * @param {string} file name of the model in its folder `onnx`
   * @param {(share: number) => void} onProgress told how much of the model has been loaded, from 0 to 1
   */
  static async load(folder, file, onProgress) {
    const model = new Model();
    model.#worker.onmessage = ({ data }) => {
      if ("progress" in data) return onProgress(data.progress);
      const { resolve, reject } = model.#waiting.get(data.id);
      model.#waiting.delete(data.id);
      return data.error === undefined ? resolve(data.result) : reject(new Error(data.error));
    };
    model.#worker.onerror = (event) => {
      // the worker's own script did not start: a module is missing
      const error = new Error(event.message || "onnxruntime-web is missing; run `npm install` in the page's folder.");
      for (const { reject } of model.#waiting.values()) reject(error);
    };
    Object.assign(model, await model.#ask("load", { folder: new URL(folder, location.href).href, file }));
    return model;
  }

  /**
   * @param {ImageData} image upright
   * @returns {Promise<{logits: Float32Array, map: Float32Array, grid: {width: number, height: number}, milliseconds: number}>}
   */
  run(image) {
    this.numRuns += 1;
    return this.#ask("run", { pixels: image.data, width: image.width, height: image.height });
  }

  #ask(task, options) {
    const id = this.#numTasks++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#worker.postMessage({ id, task, ...options });
    });
  }
}
