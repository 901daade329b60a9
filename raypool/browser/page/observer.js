// Tells of what no event of the browser tells: that the page's network was used (cookies may have
// changed then) and that it was scrolled. Runs in every document before its own scripts, in a world of
// its own: the page sees nothing of it.
(() => {
  const EVERY_MS = 30;
  let told = -Infinity, due = 0;
  const tell = () => {
    told = performance.now();
    due = 0;
    raypoolTell('network');
  };
  const used = () => {
    if (due) return;
    const wait = told + EVERY_MS - performance.now();
    if (wait <= 0) tell();
    else due = setTimeout(tell, wait);
  };
  new PerformanceObserver(used).observe({ type: 'resource' });
  addEventListener('load', used);
  globalThis.cookieStore?.addEventListener('change', used); // there in secure contexts only
  if (window === top) addEventListener('scrollend', () => raypoolTell('scroll'), { capture: true, passive: true });
  used();
})();
