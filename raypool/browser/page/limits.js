// Returns { caches: [name], workers: [scope] } of the document's storage key; bounded, they are read by people.
async function findLimits(most) {
  const none = () => []; // where the site may store nothing there is nothing
  const names = await self.caches?.keys().catch(none) ?? [];
  const workers = await navigator.serviceWorker?.getRegistrations().catch(none) ?? [];
  const bounded = (list) => list.slice(0, most).map((text) => text.slice(0, 200));
  return { caches: bounded(names), workers: bounded(workers.map(({ scope }) => scope)) };
}
