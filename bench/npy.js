// .npy files of float32 and int64 tensors
'use strict';
const fs = require('fs');
const types = {float32: ['<f4', Float32Array], int64: ['<i8', BigInt64Array]};

exports.make = (type, n, value) => types[type][1].from({length: n}, (_, i) => value(i));

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
