/* Lines over time on the page of metrics: drawn by uPlot from what the page holds. */
(() => {
  "use strict";
  const colour = (name) => {
    const probe = document.createElement("i");
    probe.style.color = `var(${name})`;
    document.body.append(probe);
    const found = getComputedStyle(probe).color;
    probe.remove();
    return found;
  };
  const words = (s) => s == null ? "–" : s === 0 ? "0" : s < 1 ? `${Math.round(s * 1000)} ms` : s < 90 ? `${+s.toFixed(1)} s` : s < 5400 ? `${+(s / 60).toFixed(1)} min` : `${+(s / 3600).toFixed(1)} h`;

  /** Seconds between two marks of the scale. */
  const STEPS = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 18000, 36000, 86400, 172800, 432000];

  const drawn = new Map();
  function draw() {
    for (const box of document.querySelectorAll(".uchart")) {
      const text = box.dataset.series;
      if (drawn.get(box) === text) continue;
      drawn.set(box, text);
      const data = JSON.parse(text);
      if (!data[1].some((value) => value != null)) { box.textContent = "nothing happened in this time"; continue; }
      box.replaceChildren();
      // A point is drawn only where no line leads to it: nothing before and nothing after.
      const alone = (chart, series, from, to) => {
        const values = chart.data[series].slice(from, to + 1);
        return values.filter((value) => value != null).length < 2;
      };
      const soft = colour("--soft"), line = colour("--line");
      const axis = { stroke: soft, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 } };
      const series = (label, name, dash) => ({ label, stroke: colour(name), width: 1.5, dash, spanGaps: true, points: { show: alone, size: 4 }, value: (_, v) => words(v) });
      new uPlot({
        width: Math.max(240, box.clientWidth), height: 190,
        scales: { y: { range: (_, low, high) => [0, (high || 1) * 1.1] } },
        axes: [{ ...axis, values: [[86400, "{MM}-{DD}", null, null, null, null, null, null, 1], [3600, "{HH}:{mm}", "\n{MM}-{DD}", null, null, null, null, null, 1], [60, "{HH}:{mm}", "\n{MM}-{DD}", null, null, null, null, null, 1], [1, "{HH}:{mm}:{ss}", null, null, null, null, null, null, 1]] }, { ...axis, size: 64, incrs: STEPS, values: (_, ticks) => ticks.map(words) }],
        series: [{ value: "{YYYY}-{MM}-{DD} {HH}:{mm}" }, series("p50", "--completed"), series("p95", "--failed", [6, 3]), series("p99", "--dead", [2, 3])],
      }, data, box);
    }
  }
  addEventListener("DOMContentLoaded", draw);
  document.addEventListener("queuectl:fresh", draw);
})();
