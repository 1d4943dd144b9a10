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
  const words = (s) => s == null ? "–" : s < 1 ? `${Math.round(s * 1000)} ms` : s < 90 ? `${+s.toFixed(1)} s` : s < 5400 ? `${+(s / 60).toFixed(1)} min` : `${+(s / 3600).toFixed(1)} h`;

  const drawn = new Map();
  function draw() {
    for (const box of document.querySelectorAll(".uchart")) {
      const text = box.dataset.series;
      if (drawn.get(box) === text) continue;
      drawn.set(box, text);
      const data = JSON.parse(text);
      if (!data[1].some((value) => value != null)) { box.textContent = "nothing happened in this time"; continue; }
      box.replaceChildren();
      const soft = colour("--soft"), line = colour("--line");
      const axis = { stroke: soft, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 } };
      const series = (label, name, dash) => ({ label, stroke: colour(name), width: 1.5, dash, spanGaps: true, points: { show: true, size: 4 }, value: (_, v) => words(v) });
      new uPlot({
        width: Math.max(240, box.clientWidth), height: 190,
        scales: { y: { range: (_, low, high) => [0, (high || 1) * 1.1] } },
        axes: [{ ...axis, values: [[86400, "{YYYY}-{MM}-{DD}", null, null, null, null, null, null, 1], [3600, "{HH}:{mm}", "\n{MM}-{DD}", null, null, null, null, null, 1], [60, "{HH}:{mm}", "\n{MM}-{DD}", null, null, null, null, null, 1], [1, "{HH}:{mm}:{ss}", null, null, null, null, null, null, 1]] }, { ...axis, size: 64, values: (_, ticks) => ticks.map(words) }],
        series: [{ value: "{YYYY}-{MM}-{DD} {HH}:{mm}" }, series("p50", "--completed"), series("p95", "--failed", [6, 3]), series("p99", "--dead", [2, 3])],
      }, data, box);
    }
  }
  addEventListener("DOMContentLoaded", draw);
  document.addEventListener("queuectl:fresh", draw);
})();
