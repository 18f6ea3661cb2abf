# Mean and standard deviation of each row over its seeds, beside PyTorch's; far: how many of
# PyTorch's standard deviations the means are apart.
BEGIN { FS = "\t" }
/^#/ { next }
FNR == NR { peer[$1, $2, $3, $4] = $5; next }
{
	k = $1 FS $2 FS $3 FS $4
	if (!(k in at)) { at[k] = ++rows; key[rows] = k }
	value[k, $5] = 100 * $6
	seeds[k] = seeds[k] ~ "(^| )" $5 "( |$)" ? seeds[k] : seeds[k] (seeds[k] == "" ? "" : " ") $5
}
function mean_of(list, n,  i, s) { s = 0; for (i = 1; i <= n; i++) s += list[i]; return s / n }
function sd_of(list, n, m,  i, s) { s = 0; for (i = 1; i <= n; i++) s += (list[i] - m) ^ 2; return n > 1 ? sqrt(s / (n - 1)) : 0 }
function far(d, sd) { return sd == 0 ? 0 : (d < 0 ? -d : d) / sd }
END {
	print "| table | student | | head | here | PyTorch | difference | far |"
	print "|---|---|---|---|---|---|---|---|"
	for (r = 1; r <= rows; r++) {
		split(key[r], f, FS)
		n = split(seeds[key[r]], s, " ")
		text = ""
		for (i = 1; i <= n; i++) { v[i] = value[key[r], s[i]]; text = text (i > 1 ? ", " : "") sprintf("%.2f", v[i]) }
		m = mean_of(v, n); d = sd_of(v, n, m)
		here = sprintf("%.2f +- %.2f (%s)", m, d, text)
		p = peer[f[1] == "search" ? "tuned" : f[1], f[2], f[3], f[4]]
		if (p == "") { printf "| %s | %s | %s | %s | %s | | | |\n", f[1], f[2], f[3], f[4], here; continue }
		np = split(p, w, " "); pm = mean_of(w, np); pd = sd_of(w, np, pm)
		printf "| %s | %s | %s | %s | %s | %.2f +- %.2f | %+.2f | %.1f |\n", f[1], f[2], f[3], f[4], here, pm, pd, m - pm, far(m - pm, pd)
	}
}
