// .npy files of tensors, by ONNX Runtime's names of their types
'use strict';
const fs = require('fs');
const types = {
  float32: ['<f4', Float32Array], float64: ['<f8', Float64Array], int32: ['<i4', Int32Array], int64: ['<i8', BigInt64Array],
  uint8: ['|u1', Uint8Array], bool: ['|b1', Uint8Array]};

// floats are noise in [-1, 1), integers small indices
exports.make = (type, n) => {
  let z = 12345;
  const value = {
    float: () => (z = (z * 1103515245 + 12345) & 0x7fffffff) / 0x40000000 - 1,
    int: i => (i * 37) % 1000, bool: i => (i * 37) % 3 > 0 ? 1 : 0, uint: i => (i * 37) % 256}[type.replace(/\d+$/, '')];
  return types[type][1].from({length: n}, (_, i) => (type === 'int64' ? BigInt(value(i)) : value(i)));
};

exports.write = (path, type, dims, data) => {
  const shape = dims.length === 1 ? `(${dims[0]},)` : `(${dims.join(', ')})`;
  const text = `{'descr': '${types[type][0]}', 'fortran_order': False, 'shape': ${shape}, }`;
  const head = Buffer.alloc(Math.ceil((10 + text.length + 1) / 64) * 64, ' ');
  head.write('\x93NUMPY\x01\x00', 0, 'latin1');
  head.writeUInt16LE(head.length - 10, 8);
  head.write(text, 10, 'latin1');
  head.write('\n', head.length - 1);
  fs.writeFileSync(path, Buffer.concat([head, Buffer.from(data.buffer, data.byteOffset, data.byteLength)]));
};

exports.read = path => {
  const file = fs.readFileSync(path);
  const text = file.toString('latin1', 10, 10 + file.readUInt16LE(8));
  const bytes = new Uint8Array(file.subarray(10 + text.length));
  const type = Object.values(types).find(t => text.includes(t[0]));
  return new type[1](bytes.buffer);
};
