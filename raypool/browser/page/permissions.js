// Returns the state of each [name, descriptor] that this browser knows; null in a frame and in an insecure
// document, where states follow from other rules than from what was granted.
async function permissionStates(asked) {
  if (self !== top || !isSecureContext) return null;
  const states = {};
  for (const [name, descriptor] of asked) {
    await navigator.permissions.query(descriptor).then(
      ({ state }) => { states[name] = state; },
      () => {});
  }
  return states;
}
