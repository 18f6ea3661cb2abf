// ONNX Runtime on one model, in a fresh process: session, first run, then runs for MS
// milliseconds; all graph optimisations, sequential, THREADS threads.  Prints JSON.
//   usage: node ort.js MODEL.onnx THREADS MS [FOLDER]     FOLDER: write inputs and outputs there
'use strict';
const fs = require('fs');
const path = require('path');
const npy = require('./npy.js');
const idle = process.memoryUsage().rss; // what Node itself takes
const ort = require('onnxruntime-node');
const [, , model, threads, ms, folder] = process.argv;
const now = () => Number(process.hrtime.bigint()) / 1e6;

// dims that are not fixed are 1, as retort has them
function input(meta) {
  const dims = meta.shape.map(d => (typeof d === 'number' && d > 0 ? d : 1));
  const n = dims.reduce((a, b) => a * b, 1);
  return new ort.Tensor(meta.type, npy.make(meta.type, n), dims);
}

async function main() {
  const t0 = now();
  const session = await ort.InferenceSession.create(model, {
    intraOpNumThreads: +threads, interOpNumThreads: 1, graphOptimizationLevel: 'all', executionMode: 'sequential'});
  const t1 = now();
  const feeds = Object.fromEntries(session.inputMetadata.map(m => [m.name, input(m)]));
  const t2 = now();
  const result = await session.run(feeds);
  const t3 = now();
  const times = [];
  for (const end = now() + +ms; now() < end || (+ms > 0 && times.length < 3);) {
    const t = now();
    await session.run(feeds);
    times.push(now() - t);
  }
  times.sort((a, b) => a - b);
  const files = (prefix, tensors) => Object.entries(tensors).map(([name, t], i) => {
    const file = path.join(folder, `${prefix}${i}.npy`);
    npy.write(file, t.type, t.dims, t.data);
    return {name, file};
  });
  console.log(JSON.stringify({
    version: ort.env.versions.node, create_ms: t1 - t0, first_ms: t3 - t2, runs: times.length,
    min_ms: times[0], median_ms: times[times.length >> 1], idle_kb: Math.round(idle / 1024),
    peak_kb: +fs.readFileSync('/proc/self/status', 'utf8').match(/VmHWM:\s*(\d+)/)[1],
    inputs: folder && files('in', feeds), outputs: folder && files('out', result)}));
}
main();
