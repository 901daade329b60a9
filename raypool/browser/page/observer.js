// Tells of what no event of the browser tells: that the page's network was used (cookies may have
// changed then), that it was scrolled, and what it leaves behind when it goes elsewhere. Runs in every
// document before its own scripts, in a world of its own: the page sees nothing of it.
const EVERY_MS = 100;
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
// The event of an item is sent when the storage process has answered: a page that goes elsewhere
// right after it stored something is often gone by then, and its event with it.
const LARGEST = 1 << 20;
const leave = () => {
  let local, session;
  try { [local, session] = [localStorage, sessionStorage].map(Object.entries); } catch { return; }
  const left = JSON.stringify({ origin, top: window === top, local, session });
  if (left.length <= LARGEST) raypoolTell(`left ${left}`);
};
globalThis.navigation?.addEventListener('navigate', (event) => {
  if (!event.destination.sameDocument && event.downloadRequest === null) leave();
});
used();
