// Compiles every model of a folder and measures it beside ONNX Runtime: one process
// after the other, in turn, the order changing from round to round.  Writes the table
// and the plot; what is known of a model is kept in WORK and used again.
//   usage: node models.js FOLDER RESULTS.md        (bench/run sets the environment)
'use strict';
const fs = require('fs');
const os = require('os');
const path = require('path');
const {spawnSync} = require('child_process');
const npy = require('./npy.js');
const plot = require('./plot.js');
const {RETORT: retort, WORK: work} = process.env;
const rounds = +process.env.ROUNDS || 3, ms = +process.env.MS || 700, threads = [1, 2];
const [, , folder, results] = process.argv;
const median = v => [...v].sort((a, b) => a - b)[v.length >> 1];
const least = v => Math.min(...v);

function run(command, args) {
  const r = spawnSync(command, args, {encoding: 'utf8', maxBuffer: 1 << 28});
  if (r.status !== 0) throw new Error(`${command} ${args.join(' ')}: ${r.error || r.stderr}`);
  return r;
}
const json = (command, args) => JSON.parse(run(command, args).stdout);
// {ms, peak_kb} from exec to exit
const measured = args => JSON.parse(run(path.join(work, 'measure'), args).stderr.trim().split('\n').pop());
const ort = (model, n, time, dir) =>
  json(process.execPath, [path.join(__dirname, 'ort.js'), model, n, time].concat(dir || []).map(String));

// max |difference| / max |output|, over all outputs
function difference(got, want) {
  let most = 0, far = 0;
  got.forEach((file, k) => {
    const g = npy.read(file), w = npy.read(want[k]);
    if (g.length !== w.length) throw new Error(`${file}: ${g.length} elements, not ${w.length}`);
    for (let i = 0; i < w.length; i++) {
      most = Math.max(most, Math.abs(Number(w[i])));
      far = Math.max(far, Object.is(g[i], w[i]) ? 0 : Math.abs(Number(g[i]) - Number(w[i])));
      if (Number.isNaN(far)) throw new Error(`${file}: element ${i} is ${g[i]}, not ${w[i]}`);
    }
  });
  return most ? far / most : null;
}

function compiled(model, exe, flags) {
  const cost = measured([retort, 'compile', model, '-q', '-o', exe, ...flags]);
  return {compile_ms: cost.ms, compile_kb: cost.peak_kb, bytes: fs.statSync(exe).size};
}

function measure(model, name) {
  const dir = path.join(work, name), exe = path.join(dir, 'model'), precise = path.join(dir, 'precise');
  fs.mkdirSync(dir, {recursive: true});
  const m = {name, rounds, ms, model_bytes: fs.statSync(model).size, ...compiled(model, exe, [])};
  compiled(model, precise, ['--precise']);

  // outputs
  const seen = ort(model, 1, 0, dir), inputs = seen.inputs.map(x => `${x.name}=${x.file}`);
  const outputs = kind => seen.outputs.flatMap((x, i) => ['-o', `${x.name}=${path.join(dir, `${kind}${i}.npy`)}`]);
  const files = kind => seen.outputs.map((x, i) => path.join(dir, `${kind}${i}.npy`));
  m.version = seen.version;
  run(exe, [...inputs, ...outputs('ours')]);
  run(precise, [...inputs, ...outputs('precise')]);
  m.error = difference(files('ours'), files('out'));
  m.error_precise = difference(files('precise'), files('out'));

  // first result: of ours from exec to exit, of theirs session and first run; all CPUs
  const first = {ours: [], theirs: []}, cpus = os.cpus().length;
  m.ours_kb = m.theirs_kb = m.node_kb = 0;
  for (let r = 0; r < rounds; r++) {
    const a = measured([exe, ...inputs, ...outputs('ours')]), b = ort(model, cpus, 0);
    first.ours.push(a.ms);
    first.theirs.push(b.create_ms + b.first_ms);
    m.ours_kb = Math.max(m.ours_kb, a.peak_kb);
    m.theirs_kb = Math.max(m.theirs_kb, b.peak_kb);
    m.node_kb = Math.max(m.node_kb, b.idle_kb);
  }
  m.first_ours = median(first.ours);
  m.first_theirs = median(first.theirs);

  // runs
  m.runs = threads.map(n => {
    const t = {ours: {min: [], median: []}, theirs: {min: [], median: []}, jit: []};
    const note = (to, x, min, mid) => (to.min.push(x[min]), to.median.push(x[mid]));
    const bench = count => json(exe, [...inputs, '--threads', String(n), '--bench', String(count)]);
    const count = Math.max(3, Math.min(20000, Math.round(ms / bench(3).ms_median)));
    const turns = [
      () => note(t.ours, bench(count), 'ms_min', 'ms_median'),
      () => note(t.theirs, ort(model, n, ms), 'min_ms', 'median_ms'),
      () => t.jit.push(json(retort, ['bench', model, '--threads', String(n), '--ms', String(ms), '--json']).min_ms)];
    for (let r = 0; r < rounds; r++)
      (r % 2 ? [...turns].reverse() : turns).forEach(turn => turn());
    return {threads: n, ours: least(t.ours.min), theirs: least(t.theirs.min),
      ours_median: median(t.ours.median), theirs_median: median(t.theirs.median), jit: least(t.jit)};
  });
  return m;
}

// ---- the report
const MB = 1e6;
const mb = bytes => (bytes / MB).toFixed(bytes < 9.95 * MB ? 1 : 0);
const ratio = x => x.toFixed(2);
const mean = v => Math.exp(v.reduce((s, x) => s + Math.log(x), 0) / v.length);
const share = x => (x === null ? 'all are 0' : x ? x.toExponential(1) : '0');
const ms_text = x => (x < 10 ? x.toFixed(1) : x.toFixed(0));

function table(head, rows) {
  const line = cells => `| ${cells.join(' | ')} |\n`;
  return line(head) + line(head.map((_, i) => (i ? '---:' : '---'))) + rows.map(line).join('');
}

function machine() {
  const info = fs.existsSync('/proc/cpuinfo') ? fs.readFileSync('/proc/cpuinfo', 'utf8') : '';
  const units = [['avx512f', 'AVX-512'], ['avx2', 'AVX2'], ['asimd', 'NEON'], ['', 'SSE2']];
  const unit = units.find(u => info.includes(u[0]))[1];
  return `${os.cpus()[0].model.trim() || os.arch()}, ${unit}, ${os.cpus().length} processors`;
}

function report(models, library) {
  const at = (m, i) => m.runs[i];
  const ratios = [0, 1].map(i => [x => x.theirs / x.ours, x => x.theirs_median / x.ours_median].map(f => models.map(m => f(at(m, i)))));
  const jit = models.map(m => m.runs[0].ours / m.runs[0].jit);
  return `# retort beside ONNX Runtime ${models[0].version}

Written by \`bench/run models\`. Machine: ${machine()}. Each figure comes from ${rounds} rounds in which the two ran in
turn, ${ms} ms each; a ratio is ONNX Runtime's time divided by that of the standalone executable: above 1 retort is faster.

![ratios](${path.basename(results, '.md')}.svg)

${table(['model', '1 thread, minimum', 'median', '2 threads, minimum', 'median'],
    models.map((m, k) => [m.name, ...[0, 1].flatMap(i => ratios[i].map(f => ratio(f[k])))])
      .concat([['**geometric mean**', ...[0, 1].flatMap(i => ratios[i].map(f => `**${ratio(mean(f))}**`))],
        ['least', ...[0, 1].flatMap(i => ratios[i].map(f => ratio(least(f))))]]))}
On one thread the same programs compiled in memory (\`retort bench\`) take the executable's time divided by ${ratio(least(jit))} to ${ratio(Math.max(...jit))}.

Outputs: largest difference to ONNX Runtime's divided by the largest output. Start: from exec to exit of the executable,
which reads its input from a file and writes its output to one, beside the creation of a session and its first run in a
process that has started already; as many threads as processors, medians.

${table(['model', 'difference', 'with --precise', 'first result, ms', 'ONNX Runtime, ms', 'times sooner'],
    models.map(m => [m.name, share(m.error), share(m.error_precise), ms_text(m.first_ours),
      ms_text(m.first_theirs), (m.first_theirs / m.first_ours).toFixed(1)]))}
Resident memory: the peak of the executable and of ONNX Runtime's process, of which ${mb(1024 * median(models.map(m => m.node_kb)))} MB are Node's. The executable
carries its weights and needs libc and libm; ONNX Runtime's library alone is ${mb(library)} MB beside the model. Compiling: elapsed time,
and the largest of the compiler's and the linker's resident memory.

${table(['model', 'model, MB', 'executable, MB', 'resident, MB', 'ONNX Runtime, MB', 'compiling, s', 'compiler, MB'],
    models.map(m => [m.name, mb(m.model_bytes), mb(m.bytes), mb(1024 * m.ours_kb), mb(1024 * m.theirs_kb),
      (m.compile_ms / 1e3).toFixed(1), mb(1024 * m.compile_kb)]))}`;
}

// ---- all of it
function library_bytes() {
  const root = path.dirname(require.resolve('onnxruntime-node/package.json'));
  const files = fs.readdirSync(root, {recursive: true}).filter(f => /libonnxruntime\.so/.test(f) && f.includes(os.arch()));
  return Math.max(0, ...files.map(f => fs.statSync(path.join(root, f)).size));
}

const newest = (...files) => Math.max(...files.map(f => fs.statSync(f).mtimeMs));
fs.mkdirSync(work, {recursive: true});
run('cc', ['-O2', '-o', path.join(work, 'measure'), path.join(__dirname, 'measure.c')]);
const models = fs.readdirSync(folder).filter(f => f.endsWith('.onnx')).sort().map(file => {
  const model = path.join(folder, file), name = file.slice(0, -5), kept = path.join(work, `${name}.json`);
  const known = fs.existsSync(kept) && fs.statSync(kept).mtimeMs > newest(model, retort) && JSON.parse(fs.readFileSync(kept));
  if (!known || known.rounds !== rounds || known.ms !== ms) {
    const start = Date.now(), m = measure(model, name);
    fs.writeFileSync(kept, JSON.stringify(m));
    fs.rmSync(path.join(work, name), {recursive: true});
    console.log(`${name}: ${m.runs.map(x => `${x.threads}T ${ratio(x.theirs / x.ours)}`).join(', ')} (${((Date.now() - start) / 1e3).toFixed(0)} s)`);
  }
  return JSON.parse(fs.readFileSync(kept));
});
if (!models.length) throw new Error(`${folder} holds no .onnx files`);
fs.writeFileSync(results, report(models, library_bytes()));
fs.writeFileSync(results.replace(/\.md$/, '') + '.svg', plot(models.map(m => ({name: m.name, value: m.runs.map(x => x.theirs / x.ours)})), threads));
console.log(results);
