/* What JavaScript adds to pages that work without it: news as it happens, keys, a log that follows, small helps. */
(() => {
  "use strict";
  document.documentElement.classList.add("js");
  const live = document.getElementById("live");
  const sign = document.getElementById("live-state");

  // --- News: one stream of topics while the tab is seen; the page is fetched again and morphed into place --------

  let source = null, pending = false, busy = false, again = false, poll = null, opened = false;
  const topics = new Set((live.dataset.topics || "").split(" ").filter(Boolean));

  const menu = document.querySelector(".bar nav"), current = menu && menu.querySelector("[aria-current]");
  if (current) menu.scrollLeft = current.offsetLeft - menu.offsetLeft - (menu.clientWidth - current.clientWidth) / 2;

  function show(state, word) {
    sign.hidden = false;
    sign.className = "live " + state;
    sign.querySelector(".word").textContent = word;
  }

  /** Whether somebody is in the middle of something that a fresh page would take away. */
  function isInUse() {
    const selection = getSelection();
    if (selection && !selection.isCollapsed && live.contains(selection.anchorNode)) return true;
    if (live.querySelector("input[type=checkbox][name=job]:checked")) return true;
    const focused = document.activeElement;
    return !!focused && live.contains(focused) && focused.matches("input:not([type=checkbox]), select, textarea");
  }

  /** What is read first, below the bar, and where it is; nothing at the top of a page, where news is to be seen. */
  function anchor() {
    if (scrollY < 8) return null;
    const low = document.querySelector(".bar").getBoundingClientRect().bottom;
    for (const each of live.querySelectorAll("tr[id], li, section, .stream")) {
      const { top, height } = each.getBoundingClientRect();
      if (height && top >= low) return [each, top];
    }
    return null;
  }

  async function refresh() {
    if (isInUse()) {
      pending = true;
      show("held", "news held");
      return;
    }
    if (busy) { again = true; return; }
    busy = true;
    pending = false;
    const places = [...live.querySelectorAll(".scroll, pre")].map((box) => [box, box.scrollTop, box.scrollLeft]);
    const kept = anchor();
    try {
      await htmx.ajax("GET", location.pathname + location.search, { target: "#live", select: "#live", swap: "outerMorph" });
      for (const [box, top, left] of places) if (box.isConnected) { box.scrollTop = top; box.scrollLeft = left; }
      if (kept && kept[0].isConnected) scrollBy(0, kept[0].getBoundingClientRect().top - kept[1]);
      mark();
      document.dispatchEvent(new CustomEvent("queuectl:fresh"));
    } finally {
      busy = false;
      if (opened) show("", "live");
      if (again) { again = false; setTimeout(refresh, 250); }
    }
  }

  function listen() {
    if (!topics.size || source || document.hidden) return;
    if (topics.has("clock")) { poll = poll || setInterval(tick, 700); return; }
    source = new EventSource(document.body.dataset.events);
    source.addEventListener("hello", () => {
      show("", "live");
      opened = true;
      clearInterval(poll);
      poll = null;
      refresh(); // what happened while nobody listened: also since the page was made
    });
    source.addEventListener("change", (event) => {
      if (JSON.parse(event.data).some((topic) => topics.has(topic))) refresh();
    });
    source.onerror = () => {
      show("away", "asking");
      if (source.readyState === EventSource.CLOSED) { source = null; poll = poll || setInterval(tick, 5000); }
    };
  }

  function tick() {
    if (document.hidden) return;
    if (topics.has("clock") && !(document.getElementById("live").dataset.topics || "").includes("clock")) {
      clearInterval(poll);
      poll = null;
      return;
    }
    refresh();
  }

  function hush() {
    if (source) { source.close(); source = null; }
  }

  document.addEventListener("visibilitychange", () => (document.hidden ? hush() : listen()));
  addEventListener("pagehide", hush);
  addEventListener("pageshow", listen);
  for (const kind of ["selectionchange", "change", "focusout"])
    document.addEventListener(kind, () => { if (pending && !isInUse()) setTimeout(() => pending && refresh(), 150); });

  // --- Times that go on: as words.py says them, by the server's clock --------------------------------------------

  const ahead = Date.now() - live.dataset.now;

  function rough(ms) {
    for (const [unit, length, least] of [["d", 864e5, 1728e5], ["h", 36e5, 6e6], ["min", 6e4, 1e5]])
      if (ms >= least) return `${Math.round(ms / length)} ${unit}`;
    return `${Math.max(1, Math.floor(ms / 1000))} s`;
  }

  function span(seconds) {
    for (const [size, unit, small, rest] of [[86400, "d", 3600, "h"], [3600, "h", 60, "min"], [60, "min", 1, "s"]])
      if (seconds >= size) {
        const left = Math.floor((seconds % size) / small);
        return `${Math.floor(seconds / size)} ${unit}${left ? ` ${left} ${rest}` : ""}`;
      }
    return `${seconds} s`;
  }

  function age() {
    if (document.hidden || busy || isInUse()) return;
    const now = Date.now() - ahead;
    const say = (element, text) => { if (element.textContent !== text) element.textContent = text; };
    for (const each of live.querySelectorAll("[data-since]")) say(each, span(Math.max(0, Math.floor((now - each.dataset.since) / 1000))));
    // Not what may have happened again since: when a pool was heard from is as old as the page.
    for (const each of live.querySelectorAll("time:not([data-still] *)")) {
      const left = Date.parse(each.dateTime) - now;
      say(each, Math.abs(left) < 1000 ? "now" : left > 0 ? `in ${rough(left)}` : `${rough(-left)} ago`);
    }
  }

  if (live.dataset.topics) setInterval(age, 1000);

  // --- A log that follows ------------------------------------------------------------------------------------

  const following = document.getElementById("following");
  if (following) {
    const box = document.getElementById("follow");
    const pres = new Map([...document.querySelectorAll("pre[data-end]")].map((pre) => [pre.dataset.stream, pre]));
    const url = new URL(following.dataset.url, location.href);
    for (const [name, pre] of pres) url.searchParams.set(name, pre.dataset.end);
    let log = null;
    const LONGEST = 1 << 20;
    const open = () => {
      if (log || document.hidden) return;
      log = new EventSource(url);
      log.addEventListener("output", (event) => {
        const { stream, text } = JSON.parse(event.data);
        const pre = pres.get(stream);
        pre.append(text);
        while (pre.textContent.length > LONGEST && pre.firstChild !== pre.lastChild) pre.firstChild.remove();
        const offsets = event.lastEventId.split("-");
        url.searchParams.set("stdout", offsets[0]);
        url.searchParams.set("stderr", offsets[1]);
        if (box.checked) pre.scrollTop = pre.scrollHeight;
      });
      log.addEventListener("end", () => { log.close(); log = null; following.remove(); refresh(); });
      log.onerror = () => { if (log && log.readyState === EventSource.CLOSED) { log = null; setTimeout(open, 5000); } };
    };
    const close = () => { if (log) { log.close(); log = null; } };
    document.addEventListener("visibilitychange", () => (document.hidden ? close() : following.isConnected && open()));
    addEventListener("pagehide", close);
    for (const pre of pres.values()) {
      pre.scrollTop = pre.scrollHeight;
      pre.addEventListener("wheel", (event) => { if (event.deltaY < 0) box.checked = false; }, { passive: true });
    }
    open();
  }

  // --- Keys ---------------------------------------------------------------------------------------------------

  let row = null, went = 0;

  const rows = () => [...document.querySelectorAll("#rows tbody tr")];

  function mark() {
    for (const each of rows()) each.classList.toggle("here", each.id === row);
  }

  function step(by) {
    const all = rows();
    if (!all.length) return;
    const at = all.findIndex((each) => each.id === row);
    const next = all[Math.max(0, Math.min(all.length - 1, at < 0 ? 0 : at + by))];
    row = next.id;
    mark();
    next.scrollIntoView({ block: "nearest" });
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select, textarea")) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    const here = rows().find((each) => each.id === row);
    if (went && event.timeStamp - went < 1500) {
      const link = document.querySelector(`nav a[data-key="${CSS.escape(event.key)}"]`);
      went = 0;
      if (link) link.click();
      return;
    }
    switch (event.key) {
      case "/": { const box = document.getElementById("q"); if (box) { box.focus(); box.select(); event.preventDefault(); } break; }
      case "g": went = event.timeStamp; break;
      case "j": step(1); break;
      case "k": step(-1); break;
      case "x": { const box = here && here.querySelector("input[type=checkbox]"); if (box) box.click(); break; }
      case "Enter": if (here && event.target === document.body) location.href = here.dataset.href; break;
      case "f": { const box = document.getElementById("follow"); if (box) box.click(); break; }
      case "?": document.getElementById("keys").showModal(); break;
    }
  });

  const keys = document.getElementById("keys-button");
  keys.hidden = false;
  keys.addEventListener("click", () => document.getElementById("keys").showModal());

  // --- Small helps --------------------------------------------------------------------------------------------

  let last = null;
  document.addEventListener("click", (event) => {
    const tick = event.target.closest("input[type=checkbox][name=job]");
    if (tick) {
      const boxes = [...document.querySelectorAll("input[type=checkbox][name=job]")];
      if (event.shiftKey && last && last.isConnected) {
        const [from, to] = [boxes.indexOf(last), boxes.indexOf(tick)].sort((a, b) => a - b);
        for (const box of boxes.slice(from, to + 1)) box.checked = tick.checked;
      }
      last = tick;
      const n = boxes.filter((box) => box.checked).length;
      document.getElementById("ticked").textContent = n ? `${n} ticked` : "";
    }
    if (event.target.id === "tick-all") {
      const boxes = [...document.querySelectorAll("input[type=checkbox][name=job]")];
      for (const box of boxes) box.checked = event.target.checked;
      document.getElementById("ticked").textContent = event.target.checked ? `${boxes.length} ticked` : "";
    }
    const copy = event.target.closest("[data-copy]");
    if (copy) {
      const text = document.getElementById(copy.dataset.copy).textContent;
      const done = () => { copy.textContent = "Copied"; };
      if (navigator.clipboard) navigator.clipboard.writeText(text).then(done);
      else { getSelection().selectAllChildren(document.getElementById(copy.dataset.copy)); document.execCommand("copy"); done(); }
    }
  });
  document.addEventListener("submit", (event) => {
    const question = event.target.dataset.confirm;
    if (question && !confirm(question)) event.preventDefault();
  });
  listen();
})();
