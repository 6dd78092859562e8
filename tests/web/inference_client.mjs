// The Hub's JavaScript client against a server: one line of JSON with what each task answered.
//   node inference_client.mjs http://127.0.0.1:8000 picture.png
import { readFile } from "node:fs/promises";

import { InferenceClient } from "@huggingface/inference";

const [address, path] = process.argv.slice(2);
const picture = new Blob([await readFile(path)], { type: "image/png" });
const client = new InferenceClient();
const results = {};

results.detection = await client.endpoint(`${address}/`).objectDetection({ inputs: picture });
results.argument = await client.objectDetection({ endpointUrl: `${address}/models/tiny-sat`, inputs: picture });
results.segmentation = await client
  .endpoint(`${address}/image-segmentation`)
  .imageSegmentation({ inputs: picture, parameters: { mask_threshold: 0.8 } });
results.classification = await client.endpoint(`${address}/image-classification`).imageClassification({ inputs: picture });
try {
  await client.endpoint(`${address}/`).objectDetection({ inputs: new Blob(["no picture"]) });
} catch (error) {
  results.error = error.message;
}
console.log(JSON.stringify(results));
