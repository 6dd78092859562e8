// The Hub's JavaScript client against a server: one line of JSON with what each task answered.
//   node inference_client.mjs http://127.0.0.1:8000 image.png
import { readFile } from "node:fs/promises";

import { InferenceClient } from "@huggingface/inference";

const [address, path] = process.argv.slice(2);
const image = new Blob([await readFile(path)], { type: "image/png" });
const client = new InferenceClient();
const results = {};

results.detection = await client.endpoint(`${address}/`).objectDetection({ inputs: image });
results.argument = await client.objectDetection({ endpointUrl: `${address}/models/tiny-sat`, inputs: image });
results.segmentation = await client
  .endpoint(`${address}/image-segmentation`)
  .imageSegmentation({ inputs: image, parameters: { mask_threshold: 0.8 } });
results.classification = await client.endpoint(`${address}/image-classification`).imageClassification({ inputs: image });
try {
  await client.endpoint(`${address}/`).objectDetection({ inputs: new Blob(["no image"]) });
} catch (error) {
  results.error = error.message;
}
console.log(JSON.stringify(results));
