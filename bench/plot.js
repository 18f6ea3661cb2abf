// Ratios as horizontal bars, one group a model, a line where both are as fast.
'use strict';
const LABEL = 150, SCALE = 220, BAR = 11, GAP = 9, TOP = 46, colours = ['#2f6fab', '#9fc3e6'];
const mean = v => Math.exp(v.reduce((s, x) => s + Math.log(x), 0) / v.length);

module.exports = (models, threads) => {
  const all = [...models, {name: 'geometric mean', value: threads.map((_, i) => mean(models.map(m => m.value[i])))}];
  const most = Math.max(2, ...all.flatMap(m => m.value)), group = threads.length * BAR + GAP;
  const wide = LABEL + most * SCALE + 60, high = TOP + all.length * group + 12, x = r => (LABEL + r * SCALE).toFixed(1);
  const text = (at, y, s, more = '') => `<text x="${at}" y="${y}" ${more}>${s.replace(/[<&]/g, c => `&#${c.charCodeAt(0)};`)}</text>\n`;
  let svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${wide.toFixed(0)}" height="${high}" font-family="sans-serif" font-size="11">
<rect width="100%" height="100%" fill="#fff"/>\n`;
  svg += text(8, 16, 'time of ONNX Runtime / time of retort', 'font-weight="bold"');
  threads.forEach((n, i) => {
    svg += `<rect x="${260 + 90 * i}" y="7" width="11" height="11" fill="${colours[i]}"/>\n`;
    svg += text(276 + 90 * i, 16, `${n} thread${n > 1 ? 's' : ''}`);
  });
  for (let r = 0; r <= most; r += 0.5) {
    svg += `<path d="M${x(r)} ${TOP - 8}V${high - 8}" stroke="${r === 1 ? '#c33' : '#ddd'}"/>\n`;
    svg += text(x(r), TOP - 12, r.toFixed(1), 'text-anchor="middle" fill="#666"');
  }
  all.forEach((m, k) => {
    const y = TOP + k * group;
    svg += text(LABEL - 8, y + 14, m.name, `text-anchor="end"${k === models.length ? ' font-weight="bold"' : ''}`);
    m.value.forEach((v, i) => {
      svg += `<rect x="${LABEL}" y="${y + i * BAR}" width="${(v * SCALE).toFixed(1)}" height="${BAR - 1}" fill="${colours[i]}"/>\n`;
      svg += text((LABEL + v * SCALE + 4).toFixed(1), y + i * BAR + 9, v.toFixed(2), 'font-size="9"');
    });
  });
  return svg + '</svg>\n';
};
