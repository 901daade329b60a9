// Puts saved storage into a document before its own scripts run. Runs in the page's own world: only
// there Playwright puts scripts into pop-ups and frames without a gap.
// *local*: { origin: [{ top: site of the page in the address bar or null, items: JSON }] }
// *session*: the same for the tab that it is used in.
(local, session) => {
  const ancestors = [...(location.ancestorOrigins ?? [])];
  const host = (origin) => origin.replace(/^.*:\/\//, '').replace(/:\d+$/, '');
  const under = (origin, site) => `.${host(origin)}`.endsWith(`.${host(site)}`);
  const choose = (seeds) => {
    const mine = Object.hasOwn(seeds, self.origin) ? seeds[self.origin] : [];
    const top = ancestors.at(-1);
    // Where the browser divides storage by the top site, the frame's own share; else all is one.
    return mine.find((s) => s.top !== null && top !== undefined && under(top, s.top)) ?? mine.find((s) => s.top === null);
  };
  const put = (which, seeds) => {
    const seed = choose(seeds);
    if (!seed) return;
    let storage;
    try { storage = self[which]; } catch { return; }
    if (storage.length) return; // what is there is newer
    for (const [name, value] of JSON.parse(seed.items)) storage.setItem(name, value);
  };
  // A page of this origin came before in this tab: it had all, and what it threw away stays away.
  if (window === top && self.navigation?.entries().length > 1) return;
  put('localStorage', local);
  put('sessionStorage', session);
}
