// What serving.py does, for Node: says `ready`, answers each line by a run and its seconds, or says `failed: REASON`.
import { readFileSync, writeFileSync } from "node:fs";
import { createInterface } from "node:readline";

export async function serve({ InferenceSession, Tensor }, options) {
  const [model, given, made] = process.argv.slice(2);
  const { shape, values, header } = read(given);
  let run;
  try {
    const session = await InferenceSession.create(readFileSync(model), options);
    const [input] = session.inputNames, [output] = session.outputNames;
    run = async () => (await session.run({ [input]: new Tensor("float32", values, shape) }))[output].data;
    writeFileSync(made, Buffer.concat([header, Buffer.from((await run()).slice().buffer)]));
  } catch (e) {
    console.log(`failed: ${String(e.message ?? e).replace(/\s+/g, " ")}`);
    process.exit(0);
  }
  console.log("ready");
  for await (const _ of createInterface({ input: process.stdin })) {
    const started = performance.now();
    await run();
    console.log((performance.now() - started) / 1000);
  }
}

// A file of NumPy with float32 in C order; the result has the same shape, so its header is that of the patches.
function read(name) {
  const file = readFileSync(name), start = 10 + file.readUInt16LE(8);
  const shape = file.toString("latin1", 10, start).match(/\(([\d, ]+)\)/)[1].split(",").map(Number);
  return { shape, values: new Float32Array(new Uint8Array(file.subarray(start)).buffer), header: file.subarray(0, start) };
}
